"""Text tables: CSV with or without a header, RecBole atomic `.inter`, MovieLens, Amazon's ratings.

Comes in: a plain text file. Goes out: a `Raw`. A CSV's separator is the one of comma, tab, semicolon and bar under
which the header has the wanted columns. `line` counts rows from the header on, which is 1: a row may have several
lines. A header that comes again further down, as in files put together from parts, is left out and counted.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path

import polars as pl

from rsir_scale.data.asked import Asked, Part
from rsir_scale.data.columns import Columns, resolve
from rsir_scale.data.line_formats import SEPARATORS, first_line, scan_four_fields, scan_positions, separator_of
from rsir_scale.data.raw import HEADER, LINE, Raw, raw_columns
from rsir_scale.errors import InputError

_BEYOND = "beyond the header"
_SAMPLE_ROWS = 50
_ASIN = r"^(?:B[0-9A-Z]{9}|[0-9]{9}[0-9X])$"
_REVIEWER = r"^A[0-9A-Z]{11,}$"
_MOVIELENS = {".data": "\t", ".dat": "::", ".csv": ","}


def scan_csv(part: Part, asked: Asked) -> Raw:
    """A CSV; without a header its columns are called by position, from 1."""
    line = first_line(part)
    if not asked.header:
        separator = asked.separator or separator_of(line)
        if not asked.quoted or separator in ("::", " "):
            return scan_positions(part, asked, separator)
        return _bare(part, asked, separator)
    header = line.replace('"', "")
    ids = (asked.user or "user_id", asked.item or "item_id")
    found = max(SEPARATORS, key=lambda mark: (sum(name in header.split(mark) for name in ids), header.count(mark)))
    table, names = _csv(part, separator=asked.separator or found, quote='"' if asked.quoted else None)
    return _raw(table, _resolved(table, names, part, asked), part, asked)


def scan_recbole(part: Part, asked: Asked) -> Raw:
    """RecBole's atomic file: tab-separated, header of `name:type`; columns are named without the type."""
    table, typed = _csv(part, separator="\t", quote=None)
    whole = {name.partition(":")[0]: name for name in typed}
    names = [name.partition(":")[0] for name in typed]
    if len(whole) < len(names):
        resolve(asked, names, part.name)
    plain = table.rename({typed_name: name for name, typed_name in whole.items()})
    return _raw(
        plain, _resolved(plain, names, part, asked), part, asked, way_out="take it out of the line", typed=whole
    )


def scan_amazon_csv(part: Part, asked: Asked) -> Raw:
    """`user,item,rating,timestamp` a line, no header; files of 2018 have the item first, and are told by their ids."""
    raw = scan_four_fields(part, asked, ",")
    if isinstance(raw.frames, pl.LazyFrame):
        _refuse_item_first(raw.frames, part)
    return raw


def scan_movielens(part: Part, asked: Asked) -> Raw:
    """MovieLens: `u.data`, `ratings.dat` or `ratings.csv`, told by the suffix."""
    suffix = Path(part.name.removesuffix(".gz")).suffix
    if suffix not in _MOVIELENS:
        raise InputError(
            f"{part.name} ends in {suffix!r}: a MovieLens file ends in one of {', '.join(_MOVIELENS)}: rename it"
        )
    if suffix != ".csv":
        return scan_four_fields(part, asked, _MOVIELENS[suffix])
    table, names = _csv(part, separator=",", quote='"')
    named = replace(asked, user="userId", item="movieId", time="timestamp")
    return _raw(table, resolve(named, [*names, *part.constants], part.name), part, asked)


def _csv(part: Part, *, separator: str, quote: str | None) -> tuple[pl.LazyFrame, list[str]]:
    """All columns as text, and their names; with one column more for what a line has beyond its header, which Polars
    passes over where the last columns are not read."""
    read = partial(pl.scan_csv, str(part.path), separator=separator, quote_char=quote, glob=False)
    names = read(infer_schema=False).collect_schema().names()
    return read(schema=dict.fromkeys([*names, _BEYOND], pl.String), missing_columns="insert"), names


def _bare(part: Part, asked: Asked, separator: str) -> Raw:
    """A quoted table without a header: the width is that of its first rows."""
    read = partial(pl.scan_csv, str(part.path), separator=separator, has_header=False, glob=False)
    names = [str(place) for place in range(1, len(read(infer_schema=False).collect_schema()) + 1)]
    table = read(schema=dict.fromkeys([*names, _BEYOND], pl.String), missing_columns="insert")
    columns = _resolved(table, names, part, asked)
    return _raw(table, columns, part, asked, first_row=1)


def _resolved(table: pl.LazyFrame, names: list[str], part: Part, asked: Asked) -> Columns:
    rows = table.head(_SAMPLE_ROWS).collect().to_dict(as_series=False)
    return resolve(asked, [*names, *part.constants], part.name, rows=rows)


def _raw(
    table: pl.LazyFrame,
    columns: Columns,
    part: Part,
    asked: Asked,
    *,
    way_out: str = "quote a field that holds the separator",
    typed: dict[str, str] | None = None,
    first_row: int = 2,
) -> Raw:
    constants = [pl.lit(value).alias(name) for name, value in part.constants.items()]
    # A blank line reads as a row of nulls.
    blank = pl.all_horizontal(pl.all().is_null())
    fault = pl.lit("'") + pl.col(_BEYOND).str.slice(0, 80) + f"' lies beyond the columns of the header: {way_out}"
    again = pl.all_horizontal(
        [pl.col(name) == (typed or {}).get(name, name) for name in (columns.user, columns.item)]
    ).fill_null(False)
    found = raw_columns(
        user=pl.col(columns.user),
        item=pl.col(columns.item),
        time=None if columns.time is None else pl.col(columns.time),
        asked=asked,
        fault=pl.when(again & (first_row > 1)).then(pl.lit(HEADER)).when(pl.col(_BEYOND).is_not_null()).then(fault),
    )
    rows = table.with_columns(blank.alias("blank line")).with_row_index(LINE, offset=first_row)
    kept = rows.filter(~pl.col("blank line")).with_columns(constants)
    return Raw(kept.select(*found, pl.col(LINE).cast(pl.Int64)), columns)


def _refuse_item_first(raw: pl.LazyFrame, part: Part) -> None:
    sample = raw.head(1000).collect()
    first, second = (sample[:, place].drop_nulls().str.strip_chars() for place in (0, 1))
    if not len(first) or not len(second):
        return
    swapped = first.str.contains(_ASIN).mean() > 0.9 and second.str.contains(_REVIEWER).mean() > 0.9  # type: ignore[operator]
    if swapped:
        raise InputError(
            f"{part.name} has the item first, by the form of its ids ({first[0]!r}, then {second[0]!r}), and "
            "amazon-csv has the user first: give --layout amazon-2018 for item,user,rating,timestamp, or --layout "
            "amazon-2014 for user,item,rating,timestamp"
        )
