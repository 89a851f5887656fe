"""What items are called: a file of titles that a user gives beside a run.

Comes in: a CSV or TSV file with the columns `item_id` and `title`, and the ids of a dataset. Goes out: a title by id.
"""

from pathlib import Path

import polars as pl

from rsir_scale.errors import InputError, shown

_ID, _TITLE = "item_id", "title"
_WAY_OUT = "name a CSV or TSV file with a header and the columns item_id and title, the ids as in the log"


def read_titles(path: str | Path, item_ids: frozenset[str]) -> dict[str, str]:
    """Read titles of items.

    Args:
        path: of the file; TSV where its name ends in .tsv.
        item_ids: of the dataset; at least one must have a title, and titles of other items are left out.

    Raises:
        InputError: the file cannot be read, lacks a column, names an id twice, or none of these items.
    """
    name = f"--titles {shown(str(path))}"
    separator = "\t" if Path(path).suffix.lower() == ".tsv" else ","
    try:
        table = pl.read_csv(path, separator=separator, infer_schema=False)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise InputError(f"{name} cannot be read ({str(error)[:200]}): {_WAY_OUT}") from error
    missing = [column for column in (_ID, _TITLE) if column not in table.columns]
    if missing:
        raise InputError(f"{name} has no column {missing[0]}: {_WAY_OUT}")
    known = table.select(_ID, _TITLE).drop_nulls().filter(pl.col(_ID).is_in(list(item_ids)))
    twice = known.filter(pl.col(_ID).is_duplicated())
    if len(twice):
        raise InputError(f"{name} has item_id {shown(twice.item(0, 0))} more than once: keep one title for each item")
    if not len(known):
        raise InputError(f"{name} has a title for none of the dataset's {len(item_ids)} items: {_WAY_OUT}")
    return dict(known.iter_rows())
