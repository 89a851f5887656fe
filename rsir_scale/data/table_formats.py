"""Text formats whose columns have names: CSV, RecBole atomic `.inter`, MovieLens `.csv`.

Comes in: a file and the names of its columns. Goes out: the same raw lazy frame as from `line_formats`: user_id,
item_id, time, line, fault. A CSV's separator is the one of comma, tab and semicolon under which the header has the
wanted columns. `line` counts rows from the header on, which is 1: a row may have several lines.
"""

from dataclasses import dataclass
from functools import partial

import polars as pl

from rsir_scale.data.line_formats import FAULT, LINE
from rsir_scale.data.schema import ITEM_ID, TIME, USER_ID
from rsir_scale.errors import InputError, shown

_BEYOND = "beyond the header"
_BLANK = "blank line"


@dataclass(frozen=True)
class Columns:
    """Names of a log's columns; `time` None: the log has no times and the file's order counts."""

    user: str
    item: str
    time: str | None

    def names(self) -> list[str]:
        """The wanted columns, without the time where there is none."""
        return [self.user, self.item] + ([] if self.time is None else [self.time])


@dataclass(frozen=True)
class Wanted:
    """What the user asked for: None stands for a default, and a default time column may be absent."""

    user: str | None = None
    item: str | None = None
    time: str | None = None

    def resolve(self, present: list[str], source: str) -> Columns:
        """Fill in the defaults user_id, item_id and timestamp and check them against the columns present."""
        time = self.time if self.time is not None else ("timestamp" if "timestamp" in present else None)
        columns = Columns(self.user or "user_id", self.item or "item_id", time)
        for name in columns.names():
            if name not in present:
                there = ", ".join(shown(other) for other in present[:20]) or "none at all"
                raise InputError(
                    f"{source} has no column {shown(name)}; it has {there}: "
                    "name its columns with --user-column, --item-column and --time-column"
                )
            # Polars gives the second of two columns of one name a name of its own.
            if present.count(name) > 1 or f"{name}_duplicated_0" in present:
                raise InputError(f"{source} has two columns {shown(name)}: rename one, or take it out")
        return columns


def scan_csv(source: str, wanted: Wanted) -> pl.LazyFrame:
    """A CSV with a header, separated by comma, tab or semicolon."""
    header = _header(source)
    ids = (wanted.user or "user_id", wanted.item or "item_id")
    separator = max(",\t;", key=lambda character: sum(name in header.split(character) for name in ids))
    table, names = _csv(source, separator=separator)
    return _raw(table, wanted.resolve(names, source))


def scan_recbole(source: str, wanted: Wanted) -> pl.LazyFrame:
    """RecBole's atomic file: tab-separated, header of `name:type`; columns are named without the type."""
    table, typed = _csv(source, separator="\t", quote=None)
    names = [name.partition(":")[0] for name in typed]
    columns = wanted.resolve(names, source)
    whole = dict(zip(names, typed, strict=True))
    time = None if columns.time is None else whole[columns.time]
    return _raw(table, Columns(whole[columns.user], whole[columns.item], time), way_out="take it out of the line")


def scan_movielens_csv(source: str) -> pl.LazyFrame:
    """A CSV with the header userId,movieId,rating,timestamp."""
    table, names = _csv(source, separator=",")
    return _raw(table, Wanted("userId", "movieId", "timestamp").resolve(names, source))


def _csv(source: str, *, separator: str, quote: str | None = '"') -> tuple[pl.LazyFrame, list[str]]:
    """All columns as text, and their names; with one column more for what a line has beyond its header, which Polars
    passes over where the last columns are not read."""
    read = partial(pl.scan_csv, source, separator=separator, quote_char=quote, glob=False)
    names = read(infer_schema=False).collect_schema().names()
    return read(schema=dict.fromkeys([*names, _BEYOND], pl.String), missing_columns="insert"), names


def _raw(
    table: pl.LazyFrame, columns: Columns, *, way_out: str = "quote a field that holds the separator"
) -> pl.LazyFrame:
    time = pl.lit(None) if columns.time is None else pl.col(columns.time)
    picked = [pl.col(columns.user).alias(USER_ID), pl.col(columns.item).alias(ITEM_ID), time.alias(TIME)]
    # A blank line reads as a row of nulls.
    blank = pl.all_horizontal(pl.all().is_null())
    rows = table.select(*picked, _BEYOND, blank.alias(_BLANK)).with_row_index(LINE, offset=2).filter(~pl.col(_BLANK))
    fault = pl.lit("'") + pl.col(_BEYOND).str.slice(0, 80) + f"' lies beyond the columns of the header: {way_out}"
    return rows.select(
        USER_ID,
        ITEM_ID,
        TIME,
        pl.col(LINE).cast(pl.Int64),
        pl.when(pl.col(_BEYOND).is_not_null()).then(fault).alias(FAULT),
    )


def _header(source: str) -> str:
    found = pl.scan_lines(source, glob=False)
    lines = found.filter(pl.first().str.strip_chars("\ufeff\r ") != "").head(1).collect(engine="streaming")
    return str(lines.item()).removeprefix("\ufeff").strip("\r").replace('"', "") if lines.height else ""
