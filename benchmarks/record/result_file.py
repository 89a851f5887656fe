"""A JSON file of results to which finished rows are added one by one, so that a study stopped anywhere loses none.

The file is replaced whole, and what it holds already is read again under a lock: two processes may add to one file.
"""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.record.machine import environment
from rsir_scale.storage.opening import open_store

Row = dict[str, Any]


def read_rows(path: Path) -> list[Row]:
    """The rows of a file; none where there is no file."""
    if not path.exists():
        return []
    rows: list[Row] = json.loads(path.read_text())["rows"]
    return rows


def add_row(path: Path, row: Row) -> None:
    """Add a row to a file, which is made if it is not there; `environment` is that of the latest row."""
    with alone(path):
        write_rows(path, [*read_rows(path), row])


def write_rows(path: Path, rows: list[Row], **more: Any) -> None:
    """Replace a file by these rows, with further keys beside them."""
    found = {"environment": environment(), "rows": rows, **more}
    open_store(path.parent).put(path.name, (json.dumps(found, indent=1) + "\n").encode())


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Hold the file's folder, so that what is read there is still so when it is written again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)
