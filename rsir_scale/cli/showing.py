"""Progress of a command that is not a run: shown once it takes longer than a moment."""

from collections.abc import Iterator
from contextlib import contextmanager

from rsir_scale.loop.line import ProgressLine
from rsir_scale.steps import Tell


@contextmanager
def shown_progress() -> Iterator[Tell]:
    """Give a command somebody to tell; what ends soon shows nothing."""
    line = ProgressLine(at_once=False)
    try:
        yield line.update
    finally:
        line.close()
