"""Must never be imported: a record of a run names a class of it."""

raise SystemError("what a run directory names was imported")
