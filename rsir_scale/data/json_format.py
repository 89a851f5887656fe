"""JSON lines: one object a line, whose keys are the columns. Amazon's reviews are one such file.

Comes in: a plain text file. Goes out: a `Raw`. Some data sets of 2014 to 2018 write Python's own texts in place of JSON
(`{'a': 1}` or `{u'a': 1}`); these are read line by line, more slowly. Numbers become text as they are written; a value
that is a list or an object is not an id: `diagnosis` finds it. Keys may differ by line: those of the first lines say
what is there.
"""

import ast
import json
from collections.abc import Iterator
from itertools import islice

import polars as pl

from rsir_scale.data.asked import Asked, Part
from rsir_scale.data.columns import Columns, resolve
from rsir_scale.data.line_formats import lines_of
from rsir_scale.data.raw import LINE, Raw, raw_columns
from rsir_scale.errors import InputError

REVIEW_KEYS = ("reviewerID", "asin", "unixReviewTime")
_SAMPLE_LINES = 100
_OBJECT = "object"
_PYTHON = ("{'", "{u'")
_BATCH_LINES = 1 << 14


def scan_jsonl(part: Part, asked: Asked) -> Raw:
    """One object a line; keys as `--user-column`, `--item-column` and `--time-column` name them."""
    values, python = _sample(part)
    columns = resolve(asked, [*values, *part.constants], part.name, rows=values)
    return Raw(_python_frames(part, asked, columns), columns) if python else _raw(part, asked, columns)


def scan_amazon_json(part: Part, asked: Asked) -> Raw:
    """One review a line, with reviewerID, asin and unixReviewTime; other keys are ignored."""
    user, item, time = REVIEW_KEYS
    others = tuple(asked.conditions_on())
    return _raw(part, asked, Columns(user, item, None if asked.no_times else time, others))


def _raw(part: Part, asked: Asked, columns: Columns) -> Raw:
    keys = [name for name in columns.names() if name not in part.constants]
    decoded = pl.col("text").str.json_decode(pl.Struct(dict.fromkeys(keys, pl.String)))
    rows = lines_of(part).select(LINE, decoded.alias(_OBJECT)).unnest(_OBJECT)
    constants = [pl.lit(value).alias(name) for name, value in part.constants.items()]
    return Raw(rows.with_columns(constants).select(*_picked(asked, columns), LINE), columns)


def _sample(part: Part) -> tuple[dict[str, list[object]], bool]:
    """The keys of the first lines, with a few of their values, and whether they are Python's own texts."""
    values: dict[str, list[object]] = {}
    lines = lines_of(part).head(_SAMPLE_LINES).collect().rows(named=True)
    python = bool(lines) and lines[0]["text"].startswith(_PYTHON)
    for row in lines:
        text = row["text"]
        if row[LINE] == 1 and text.startswith("["):
            raise InputError(
                f"{part.name} is one JSON list: write one object a line, such as by `jq -c '.[]'`, and give it again"
            )
        for key, value in _object(text, part.name, row[LINE], python=python).items():
            values.setdefault(key, []).append(value)
    return values, python


def _object(text: str, source: str, line: int, *, python: bool) -> dict[str, object]:
    try:
        found = ast.literal_eval(text) if python else json.loads(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError) as error:
        raise InputError(
            f"{source}, line {line}: {text[:80]!r} is not JSON ({error}): write one object a line"
        ) from error
    if not isinstance(found, dict):
        raise InputError(f"{source}, line {line}: {text[:80]!r} is not an object: write one object a line")
    return found


def _python_frames(part: Part, asked: Asked, columns: Columns) -> Iterator[pl.DataFrame]:
    """Frames of raw columns of lines that are Python's own texts."""
    keys = [name for name in columns.names() if name not in part.constants]
    schema = dict.fromkeys(keys, pl.String) | {LINE: pl.Int64}
    constants = [pl.lit(value).alias(name) for name, value in part.constants.items()]
    picked = _picked(asked, columns)
    with part.path.open(encoding="utf-8-sig") as file:
        numbered = enumerate(file, start=1)
        while lines := list(islice(numbered, _BATCH_LINES)):
            found = [
                (number, _object(text.strip(), part.name, number, python=True))
                for number, text in lines
                if text.strip()
            ]
            rows = [[*(_text(value.get(key)) for key in keys), number] for number, value in found]
            frame = pl.DataFrame(rows, schema=schema, orient="row")
            yield frame.with_columns(constants).select(*picked, LINE)


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _picked(asked: Asked, columns: Columns) -> list[pl.Expr]:
    return raw_columns(
        user=pl.col(columns.user),
        item=pl.col(columns.item),
        time=None if columns.time is None else pl.col(columns.time),
        asked=asked,
    )
