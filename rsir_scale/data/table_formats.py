"""Formats whose columns have names: CSV, Parquet, RecBole atomic `.inter`, MovieLens `.csv`.

Comes in: a file and the names of its columns. Goes out: the same raw lazy frame as from `line_formats`: user_id,
item_id, time, line, fault. A CSV's separator is the one of comma, tab and semicolon under which the header has the
wanted columns. `line` counts from 1 and includes the header; in Parquet it is the row.
"""

from dataclasses import dataclass

import polars as pl

from rsir_scale.data.line_formats import FAULT, LINE
from rsir_scale.data.schema import ITEM_ID, TIME, USER_ID
from rsir_scale.errors import InputError


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

    def resolve(self, present: list[str], source: str, *, default_time: str) -> Columns:
        """Fill in the defaults user_id, item_id and `default_time` and check them against the columns present."""
        time = self.time if self.time is not None else (default_time if default_time in present else None)
        columns = Columns(self.user or "user_id", self.item or "item_id", time)
        for name in columns.names():
            if name not in present:
                raise InputError(
                    f"{source} has no column {name!r}; it has {', '.join(present[:20])}: "
                    "name its columns with --user-column, --item-column and --time-column"
                )
        return columns


def scan_csv(source: str, wanted: Wanted) -> pl.LazyFrame:
    """A CSV with a header, separated by comma, tab or semicolon."""
    header = _header(source)
    names = (wanted.user or "user_id", wanted.item or "item_id")
    separator = max(",\t;", key=lambda character: sum(name in header.split(character) for name in names))
    table = _csv(source, separator=separator)
    columns = wanted.resolve(table.collect_schema().names(), source, default_time="timestamp")
    return _raw(table, columns, first_line=2)


def scan_parquet(source: str, wanted: Wanted) -> pl.LazyFrame:
    """Any Parquet file; ids may be text or numbers, times numbers, dates or text that is a number."""
    table = pl.scan_parquet(source, glob=False)
    columns = wanted.resolve(table.collect_schema().names(), source, default_time="timestamp")
    return _raw(table, columns, first_line=1)


def scan_recbole(source: str, wanted: Wanted) -> pl.LazyFrame:
    """RecBole's atomic file: tab-separated, header of `name:type`; columns are named without the type."""
    typed = _csv(source, separator="\t", quote=None)
    table = typed.rename({name: name.partition(":")[0] for name in typed.collect_schema().names()})
    columns = wanted.resolve(table.collect_schema().names(), source, default_time="timestamp")
    return _raw(table, columns, first_line=2)


def scan_movielens_csv(source: str) -> pl.LazyFrame:
    """A CSV with the header userId,movieId,rating,timestamp."""
    table = _csv(source, separator=",")
    columns = Wanted("userId", "movieId", "timestamp").resolve(
        table.collect_schema().names(), source, default_time="timestamp"
    )
    return _raw(table, columns, first_line=2)


def _csv(source: str, *, separator: str, quote: str | None = '"') -> pl.LazyFrame:
    return pl.scan_csv(source, separator=separator, quote_char=quote, infer_schema=False, glob=False)


def _raw(table: pl.LazyFrame, columns: Columns, *, first_line: int) -> pl.LazyFrame:
    time = pl.lit(None) if columns.time is None else pl.col(columns.time)
    ids = [pl.col(columns.user).cast(pl.String).alias(USER_ID), pl.col(columns.item).cast(pl.String).alias(ITEM_ID)]
    numbered = table.select(*ids, time.alias(TIME)).with_row_index(LINE, offset=first_line)
    # A blank line reads as a row of nulls.
    rows = numbered.filter(pl.any_horizontal(pl.col(USER_ID, ITEM_ID, TIME).is_not_null()))
    return rows.with_columns(pl.col(LINE).cast(pl.Int64), pl.lit(None, dtype=pl.String).alias(FAULT))


def _header(source: str) -> str:
    lines = pl.scan_lines(source, n_rows=1, glob=False).collect()
    return str(lines.item()).removeprefix("\ufeff").strip("\r").replace('"', "") if lines.height else ""
