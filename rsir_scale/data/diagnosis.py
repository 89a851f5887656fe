"""Finds the line that a columnar reader refused without naming it. Runs only on the way to an error message.

Polars says that some row of a CSV has too many fields, or that some line is no JSON; a person wants to know which. So
the file is read once more, slowly, up to that line. Rows and lines differ where a quoted field holds a line end.
"""

import csv
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import TextIO

from rsir_scale.data.asked import Asked
from rsir_scale.data.json_format import REVIEW_KEYS


def locate_fault(asked: Asked, path: Path) -> str:
    """Say what is wrong on which line, as `line N: …`; an empty string where nothing is found."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            if asked.log_format == "amazon-json":
                return _first_bad_json(file, REVIEW_KEYS)
            if asked.log_format == "jsonl":
                return _first_bad_json(file, [key for key in (asked.user, asked.item, asked.time) if key])
            if asked.log_format in ("csv", "recbole", "movielens"):
                return _first_odd_row(file, quoted=asked.log_format != "recbole" and asked.quoted)
    except (OSError, UnicodeDecodeError) as error:
        return str(error)
    return ""


def _first_bad_json(file: TextIO, keys: Sequence[str]) -> str:
    for number, line in enumerate(file, start=1):
        try:
            review = json.loads(line, parse_constant=_refuse) if line.strip() else {}
        except (ValueError, RecursionError) as error:
            return f"line {number}: {line.strip()[:80]!r} is not JSON ({error})"
        if not isinstance(review, dict) or any(isinstance(review.get(key), dict | list) for key in keys):
            return f"line {number}: {line.strip()[:80]!r} is not an object with {', '.join(keys)} as text or numbers"
    return ""


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not a number")


def line_of(asked: Asked, path: Path, row: int) -> int:
    """The line of a log on which a row begins, the header being row 1; where each line is a row, they are the same."""
    table = asked.log_format in ("csv", "recbole") or (asked.log_format == "movielens" and path.suffix == ".csv")
    if not table or not (asked.header or asked.quoted):
        return row
    quoted = asked.log_format != "recbole" and asked.quoted
    with suppress(csv.Error), path.open(encoding="utf-8-sig", newline="") as file:
        for number, (first_line, _, _) in enumerate(_rows(file, quoted=quoted), start=1):
            if number == row:
                return first_line
    return row


def _first_odd_row(file: TextIO, *, quoted: bool) -> str:
    rows = _rows(file, quoted=quoted)
    try:
        _, header, names = next(rows)
        well_formed = _well_formed(_separator(header))
        for line, text, fields in rows:
            if quoted and not well_formed.fullmatch(text):
                return (
                    f"line {line}: {text[:80]!r} has a quote in the middle of a field: quote the whole field and write "
                    "each quote in it twice, or take its column out"
                )
            if len(fields) > len(names):
                return f"line {line}: {text[:80]!r} has {len(fields)} fields, the header {len(names)}"
    except csv.Error as error:
        return str(error)
    return ""


def _rows(file: TextIO, *, quoted: bool) -> Iterator[tuple[int, str, list[str]]]:
    """The rows of a table from its header on: first line, text, fields. Raises csv.Error, which names the line."""
    blank = 0
    while (header := file.readline()) and not header.strip():
        blank += 1
    taken: list[str] = []

    def lines() -> Iterator[str]:
        for line in chain([header], file):
            taken.append(line)
            yield line

    reader = csv.reader(lines(), delimiter=_separator(header), quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE)
    first = blank + 1
    try:
        for fields in reader:
            yield first, "".join(taken).rstrip("\r\n"), fields
            taken.clear()
            first = blank + reader.line_num + 1
    except csv.Error as error:
        raise csv.Error(f"line {first}: {error}: a quote that nothing closes, perhaps") from error


def _separator(header: str) -> str:
    return max(",\t;", key=header.count)


def _well_formed(separator: str) -> re.Pattern[str]:
    field = rf'(?:"(?:[^"]|"")*+"|[^"{separator}]*+)'
    return re.compile(f"{field}(?:{separator}{field})*+")
