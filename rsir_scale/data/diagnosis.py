"""Finds the line that a columnar reader refused without naming it. Runs only on the way to an error message.

Polars says that some row of a CSV has too many fields, or that some line is no JSON; a person wants to know which. So
the file is read once more, slowly, up to that line.
"""

import csv
import gzip
import json
from pathlib import Path
from typing import TextIO


def locate_fault(log_format: str, path: Path) -> str:
    """Say what is wrong on which line, as `line N: …`; an empty string where nothing is found."""
    try:
        with _open(path) as file:
            if log_format == "amazon-json":
                return _first_bad_json(file)
            if log_format in ("csv", "recbole", "movielens"):
                return _first_odd_row(file)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        return str(error)
    return ""


def _open(path: Path) -> TextIO:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig")
    return path.open(encoding="utf-8-sig", newline="")


def _first_bad_json(file: TextIO) -> str:
    for number, line in enumerate(file, start=1):
        try:
            json.loads(line or "null")
        except ValueError as error:
            if line.strip():
                return f"line {number}: {line.strip()[:80]!r} is not JSON ({error})"
    return ""


def _first_odd_row(file: TextIO) -> str:
    header = file.readline()
    separator = max(",\t;", key=header.count)
    width = len(next(csv.reader([header], delimiter=separator), []))
    rows = csv.reader(file, delimiter=separator)
    for row in rows:
        if len(row) > width:
            return f"line {rows.line_num + 1}: {separator.join(row)[:80]!r} has {len(row)} fields, the header {width}"
    return ""
