"""Rows as a file has them → clean ids, times as numbers, and for each row that is not handed on the reason why.

Comes in: raw columns of all parts. Goes out: the same rows, with `reason` (text; null where the row is good), counts of
everything that happened, and notes for the user. One pass for the counts, one for whatever comes after.
"""

from typing import Any

import polars as pl

from rsir_scale.data import ids, times
from rsir_scale.data.asked import Asked
from rsir_scale.data.columns import Columns
from rsir_scale.data.raw import FAULT, HEADER, KEPT
from rsir_scale.data.schema import ITEM_ID, TIME, USER_ID
from rsir_scale.errors import shown

PART = "part"
REASON = "reason"
KIND = "kind"
AS_WRITTEN = "time as written"
_REPEATED, _MISSING = "repeated header", "missing id"
_BEFORE_TIMES = 1e8
_FLOATS, _WORDS, _SPREADSHEET, _DATED = "floats", "words", "spreadsheet", "dated"
_IDS = (USER_ID, ITEM_ID)
_ORDERED = ("sequences", "pairs")  # whose order is their meaning


def judged(rows: pl.LazyFrame, asked: Asked, columns: Columns) -> pl.LazyFrame:
    """Clean ids and times, and say of each row what is wrong with it.

    Args:
        rows: raw columns, part and given.
        asked: what is asked for.
        columns: what the file calls them, for messages.

    Returns:
        The rows with `time` as a number, `reason` (what is wrong, in words), `kind` (in short: repeated headers and
        missing ids are left out without being faults), `kept` (`--where` holds) and flags for `counts_of`.
    """
    kind = rows.collect_schema()[TIME]
    has_times = kind != pl.Null
    flags = [ids.was_float(name).alias(f"{_FLOATS} {name}") for name in _IDS]
    flags += [
        times.is_spreadsheet(TIME, kind).alias(_SPREADSHEET),
        times.is_dated(TIME, kind).alias(_DATED) if asked.time_format is None else pl.lit(False).alias(_DATED),
        pl.col(TIME).alias(AS_WRITTEN),
    ]
    clean = [pl.when(pl.col(f"{_FLOATS} {name}")).then(pl.col(name)).alias(f"example {name}") for name in _IDS]
    numbers = [ids.clean_id(name) for name in _IDS] + [times.as_number(TIME, kind, asked.time_format).alias(TIME)]
    found = rows.with_columns(flags).with_columns(clean).with_columns(numbers)
    none = pl.any_horizontal([ids.stands_for_none(name, asked.missing_ids) for name in _IDS])
    words = [ids.is_word_for_missing(name).alias(f"{_WORDS} {name}") for name in _IDS]
    faults = [
        (pl.col(FAULT), "malformed line"),
        (ids.fault_of_id(USER_ID, columns.user), f"{columns.user} missing or too long"),
        (ids.fault_of_id(ITEM_ID, columns.item), f"{columns.item} missing or too long"),
    ]
    faults += [(_fault_of_time(columns.time or TIME, asked), "no time")] if has_times else []
    header = pl.col(FAULT) == HEADER
    short = [pl.when(fault.is_not_null()).then(pl.lit(name)) for fault, name in faults]
    return found.with_columns(words).with_columns(
        pl.when(~header.fill_null(False) & ~none & pl.col(KEPT))
        .then(pl.coalesce([fault for fault, _ in faults]))
        .alias(REASON),
        pl.when(header)
        .then(pl.lit(_REPEATED))
        .when(~pl.col(KEPT))
        .then(None)
        .when(none)
        .then(pl.lit(_MISSING))
        .otherwise(pl.coalesce(short))
        .alias(KIND),
        (pl.col(KEPT) & ~none & ~header.fill_null(False)).alias(KEPT),
        (~pl.col(KEPT) & ~header.fill_null(False)).alias("filtered"),
    )


def counts_of(rows: pl.LazyFrame) -> dict[str, Any]:
    """How many rows there are, are bad, are filtered, and hold what the user should know of."""
    good = pl.col(KEPT) & pl.col(REASON).is_null()
    asked = [pl.len().alias("read"), pl.col(REASON).is_not_null().sum().alias("bad"), pl.col("filtered").sum()]
    for name in _IDS:
        asked += [
            (pl.col(f"{_FLOATS} {name}") & good).sum().alias(f"{_FLOATS} {name}"),
            pl.col(f"example {name}").filter(good).drop_nulls().first().alias(f"example {name}"),
            (pl.col(f"{_WORDS} {name}") & good).sum().alias(f"{_WORDS} {name}"),
            pl.col(name).filter(pl.col(f"{_WORDS} {name}") & good).first().alias(f"word {name}"),
        ]
    asked += [
        (pl.col(_SPREADSHEET) & good).sum().alias(_SPREADSHEET),
        pl.col(AS_WRITTEN).filter(pl.col(_SPREADSHEET) & good).cast(pl.String).first().alias("spreadsheet time"),
        ((pl.col(TIME) < _BEFORE_TIMES) & good).sum().alias("small"),
        ((pl.col(TIME) >= _BEFORE_TIMES) & good).sum().alias("large"),
    ]
    return rows.select(asked).collect(engine="streaming").row(0, named=True)


def count(rows: pl.LazyFrame) -> int:
    """How many rows a frame has."""
    return int(rows.select(pl.len()).collect(engine="streaming").item())


def dropped(rows: pl.LazyFrame) -> dict[str, int]:
    """How many rows are left out by reason, most frequent first."""
    by_kind = rows.filter(pl.col(KIND).is_not_null()).group_by(KIND).len().sort("len", KIND, descending=[True, False])
    return dict(by_kind.collect(engine="streaming").iter_rows())


def span(good: pl.LazyFrame, source: str) -> times.Span | None:
    """Unit, first and last time of good rows; None without times.

    Raises:
        InputError: they are of several units.
    """
    facts = [
        pl.len().alias("rows"),
        pl.col(_DATED).sum().alias("dated"),
        pl.col(TIME).min().alias("first"),
        pl.col(TIME).max().alias("last"),
    ]
    found = good.select([*facts, *times.unit_counts(TIME)]).collect(engine="streaming").row(0, named=True)
    return None if found["first"] is None else times.span_of(found, source)


def notes(counts: dict[str, Any], asked: Asked, columns: Columns, *, has_times: bool) -> tuple[str, ...]:
    """What the user should know of a log that was read, a sentence each."""
    told = []
    for name, written in zip(_IDS, (columns.user, columns.item), strict=True):
        if counts[f"{_FLOATS} {name}"]:
            told.append(
                f"{counts[f'{_FLOATS} {name}']} values of {written} such as {counts[f'example {name}']} are whole "
                "numbers written as floats, and are read as whole numbers"
            )
        if counts[f"{_WORDS} {name}"]:
            word = counts[f"word {name}"]
            told.append(
                f"{counts[f'{_WORDS} {name}']} rows have an id in {written} that often stands for none, such as "
                f"{shown(word)}: it is kept as one id; --missing-ids {word} leaves its rows out"
            )
    if counts[_SPREADSHEET]:
        told.append(
            f"{counts[_SPREADSHEET]} times are written as {counts['spreadsheet time']}, as spreadsheets do: digits "
            "that order them are lost; export the log again with times in full"
        )
    if has_times and 0 < counts["small"] < counts["large"]:
        told.append(f"{counts['small']} times lie before 1973, such as zeros do: they count as the oldest")
    if not has_times and not asked.no_times and asked.log_format not in _ORDERED:
        told.append("the log has no times: the order of the file counts")
    return tuple(told)


def _fault_of_time(name: str, asked: Asked) -> pl.Expr:
    known = (
        f"is not of --time-format {asked.time_format}"
        if asked.time_format
        else "is not a finite number or an ISO date: give --time-format for another form, such as %d.%m.%Y, or "
        "--no-times where the file's order counts"
    )
    written = pl.col(AS_WRITTEN).cast(pl.String).str.slice(0, 80)
    value = pl.when(pl.col(AS_WRITTEN).is_null()).then(pl.lit("None")).otherwise(pl.lit("'") + written + "'")
    called = "time" if name in ("time", "timestamp") else name
    return pl.when(~pl.col(TIME).is_finite().fill_null(False)).then(pl.lit(f"{called} ") + value + pl.lit(f" {known}"))
