"""Finds the line that a columnar reader refused without naming it. Runs only on the way to an error message.

Polars says that some row of a CSV has too many fields, or that some line is no JSON; a person wants to know which. So
the file is read once more, slowly, up to that line.
"""

import csv
import io
import json
from pathlib import Path
from typing import TextIO

from rsir_scale.data.line_formats import REVIEW_KEYS
from rsir_scale.data.text_files import open_log


def locate_fault(log_format: str, path: Path) -> str:
    """Say what is wrong on which line, as `line N: …`; an empty string where nothing is found."""
    try:
        with io.TextIOWrapper(open_log(path), encoding="utf-8-sig", newline="") as file:
            if log_format == "amazon-json":
                return _first_bad_json(file)
            if log_format in ("csv", "recbole", "movielens"):
                return _first_odd_row(file)
    except (OSError, UnicodeDecodeError) as error:
        return str(error)
    return ""


def _first_bad_json(file: TextIO) -> str:
    for number, line in enumerate(file, start=1):
        try:
            review = json.loads(line, parse_constant=_refuse) if line.strip() else {}
        except (ValueError, RecursionError) as error:
            return f"line {number}: {line.strip()[:80]!r} is not JSON ({error})"
        if not isinstance(review, dict) or any(isinstance(review.get(key), dict | list) for key in REVIEW_KEYS):
            return f"line {number}: {line.strip()[:80]!r} is no review with {', '.join(REVIEW_KEYS)} as text or numbers"
    return ""


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number")


def _first_odd_row(file: TextIO) -> str:
    header = file.readline()
    separator = max(",\t;", key=header.count)
    width = len(next(csv.reader([header], delimiter=separator), []))
    rows = csv.reader(file, delimiter=separator)
    first_line = 2
    try:
        for row in rows:
            if len(row) > width:
                return f"line {first_line}: {separator.join(row)[:80]!r} has {len(row)} fields, the header {width}"
            first_line = rows.line_num + 2
    except csv.Error as error:
        return f"line {first_line}: {error}: a quote that nothing closes, perhaps"
    return ""
