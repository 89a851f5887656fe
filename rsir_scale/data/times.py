"""One rule for times, in every reader: a number stays a number, a date becomes seconds since 1970 (UTC).

Comes in: a column of text or numbers. Goes out: Float64, null where a value is no time. Dates are ISO-8601 in all that
people make of it (a day, `T` or a blank, fractions, zones; slashes year first), which is also what pandas writes;
other forms want `--time-format`, for `03/04/2020` means two days. Numbers keep the log's own unit, which is found by
their size; two units in one log are refused, because they cannot be told from two centuries.
"""

from dataclasses import dataclass

import polars as pl

from rsir_scale.errors import InputError, shown

ISO = (
    r"^([0-9]{4})[-/]([0-9]{2})[-/]([0-9]{2})"
    r"(?:[T ]([0-9]{2}:[0-9]{2})(:[0-9]{2})?([.,][0-9]+)?)?"
    r" ?(?:Z|UTC|GMT|([+-])([0-9]{2}):?([0-9]{2})?)?$"
)
# By the least value: 1973 to 5138 in each unit. Smaller numbers have no unit that could be told.
UNITS = {"seconds": 1e8, "milliseconds": 1e11, "microseconds": 1e14, "nanoseconds": 1e17}
PER_SECOND = {"seconds": 1.0, "milliseconds": 1e3, "microseconds": 1e6, "nanoseconds": 1e9}


@dataclass(frozen=True)
class Span:
    """The times of a log: their unit (None where it cannot be told), the first and the last."""

    unit: str | None
    first: float
    last: float

    def shown(self) -> str:
        """First and last as days where the unit is known."""
        if self.unit is None:
            return f"{self.first:g} to {self.last:g}, of no unit that could be told"
        scale = PER_SECOND[self.unit]
        days = pl.from_epoch(pl.Series([int(value / scale) for value in (self.first, self.last)])).dt.date()
        return f"{days[0]} to {days[1]}, in {self.unit}"


def as_number(column: str, kind: pl.DataType, time_format: str | None) -> pl.Expr:
    """The time as Float64, null where it is none.

    Args:
        column: its name.
        kind: its type: String, Float64 or Null.
        time_format: as for `strptime`, or None for numbers and ISO-8601.
    """
    if time_format is not None and kind != pl.Null:
        text = pl.col(column).cast(pl.String).str.strip_chars()
        if kind == pl.Float64:
            text = text.str.replace(r"\.0$", "")
        read = text.str.to_datetime(time_format, time_unit="us", strict=False)
        return read.dt.epoch("us").cast(pl.Float64) / 1e6
    if kind != pl.String:
        return pl.col(column).cast(pl.Float64)
    text = pl.col(column).str.strip_chars()
    return pl.coalesce(text.cast(pl.Float64, strict=False), _iso_seconds(text))


def is_spreadsheet(column: str, kind: pl.DataType) -> pl.Expr:
    """Whether a time is a number whose last digits a spreadsheet took, such as `1.4E+12`."""
    if kind != pl.String:
        return pl.lit(False)
    return pl.col(column).str.contains(r"^\s*[0-9](?:\.[0-9]{1,6})?[eE]\+?[0-9]{1,2}\s*$").fill_null(False)


def is_dated(column: str, kind: pl.DataType) -> pl.Expr:
    """Whether a time is written as a date."""
    return pl.lit(False) if kind != pl.String else pl.col(column).str.strip_chars().str.contains(ISO).fill_null(False)


def unit_counts(number: str) -> list[pl.Expr]:
    """For each unit, how many times are of its size, and one of them."""
    bounds = [*UNITS.values(), float("inf")]
    sizes = [
        (name, pl.col(number).is_between(low, high, closed="left"))
        for name, low, high in zip(UNITS, bounds[:-1], bounds[1:], strict=True)
    ]
    return [
        expression
        for name, inside in sizes
        for expression in (
            inside.sum().alias(f"{name} count"),
            pl.col(number).filter(inside).first().alias(f"{name} example"),
        )
    ]


def span_of(counts: dict[str, object], source: str) -> Span:
    """The span of a log's times.

    Args:
        counts: of `unit_counts`, `dated`, `rows`, `first` and `last`.
        source: the log, for messages.

    Raises:
        InputError: times of two units, or dates among numbers of another unit than seconds.
    """
    found = {name: counts[f"{name} example"] for name in UNITS if counts[f"{name} count"]}
    dated, rows = counts["dated"], counts["rows"]
    if dated and dated != rows:
        raise InputError(
            f"{source}: {dated} of {rows} times are dates and the others are numbers: write all of them in one way, or "
            "give --no-times"
        )
    if len(found) > 1:
        kinds = ", ".join(
            f"{counts[f'{name} count']} look like {name} (such as {value:.0f})" for name, value in found.items()
        )
        raise InputError(
            f"{source}: times are of several units: {kinds}: convert them to one unit, or give --no-times, and the "
            "order of the file counts"
        )
    unit = "seconds" if dated else next(iter(found), None)
    return Span(unit, float(str(counts["first"])), float(str(counts["last"])))


def moment(text: str, span: Span) -> float:
    """A date that the user gives, as a number in the log's own unit.

    Raises:
        InputError: it is not a date, or the unit of the log cannot be told.
    """
    seconds = pl.DataFrame({"t": [text]}).select(_iso_seconds(pl.col("t"))).item()
    if seconds is None:
        raise InputError(f"{shown(text)} is not a date: write one such as 2024-01-31 or 2024-01-31T12:00:00Z")
    if span.unit is None:
        raise InputError(
            f"the log's times, {span.shown()}, cannot be compared with a date: give a share, such as time:0.1, instead"
        )
    return float(seconds) * PER_SECOND[span.unit]


def _iso_seconds(text: pl.Expr) -> pl.Expr:
    part = text.str.extract_groups(ISO).struct
    day = part.field("1") + pl.lit("-") + part.field("2") + pl.lit("-") + part.field("3")
    clock = part.field("4").fill_null("00:00") + part.field("5").fill_null(":00")
    fraction = part.field("6").fill_null("").str.replace(",", ".", literal=True)
    whole = (day + pl.lit(" ") + clock).str.to_datetime("%Y-%m-%d %H:%M:%S", time_unit="us", strict=False)
    shift = part.field("8").cast(pl.Int64, strict=False) * 3600 + (
        part.field("9").cast(pl.Int64, strict=False).fill_null(0) * 60
    )
    sign = pl.when(part.field("7") == "-").then(-1).otherwise(1)
    seconds = whole.dt.epoch("s").cast(pl.Float64) - (shift * sign).fill_null(0)
    return seconds + (pl.lit("0") + fraction).cast(pl.Float64, strict=False).fill_null(0.0)
