"""How validation and test items are chosen: leave-one-out, by a point in time for everyone, or as others gave them.

Comes in: `leave-one-out`, `time:DATE`, `time:SHARE` or `given`. Goes out: a label for each interaction (0 may train,
above it is held out) and which of the held-out ones count. By time, nothing that happened at or after the boundary
trains, and a user's first two interactions from there on are validation and test item; so no user's past tells of
another's future. A user has one validation and one test item, or neither.
"""

import math
from dataclasses import dataclass
from typing import Literal

import polars as pl

from rsir_scale.data.schema import GIVEN, TIME
from rsir_scale.data.split import LEAVE_ONE_OUT
from rsir_scale.data.times import Span, moment
from rsir_scale.errors import InputError, shown

LABEL = "label"
_TIME, _GIVEN = "time:", "given"


@dataclass(frozen=True)
class SplitRule:
    """A split, as asked for.

    Attributes:
        kind: of the three.
        value: of `time:`, a date or a share; empty for the others.
    """

    kind: Literal["leave-one-out", "time", "given"]
    value: str = ""

    @property
    def held_per_label(self) -> int:
        """Interactions of a user that count under one label above 0."""
        return 2 if self.kind == "time" else 1

    def named(self, boundary: float | None) -> str:
        """As `dataset.json` says it."""
        return self.kind if boundary is None else f"{_TIME}{self.value}, from {boundary!r}"

    def boundary(self, log: pl.LazyFrame, span: Span | None) -> float | None:
        """The least time that is held out; None where time does not decide.

        Raises:
            InputError: the log has no times, the date cannot be compared with them, or leaves nothing on one side.
        """
        if self.kind != "time":
            return None
        if span is None:
            raise InputError("--split time: the log has no times: name its time column, or give --split leave-one-out")
        share = _share(self.value)
        if share is None:
            found = moment(self.value, span)
        else:
            found = float(log.select(pl.col(TIME).quantile(1 - share, "higher")).collect(engine="streaming").item())
        if not span.first < found <= span.last:
            raise InputError(
                f"--split {_TIME}{self.value} leaves nothing on one side: the log's times are {span.shown()}"
            )
        return found

    def label(self, boundary: float | None) -> pl.Expr:
        """The label of an interaction."""
        if self.kind == "given":
            return pl.col(GIVEN).cast(pl.Int8)
        if boundary is None:
            return pl.lit(0, dtype=pl.Int8)
        return (pl.col(TIME) >= boundary).cast(pl.Int8)


def split_rule(text: str) -> SplitRule:
    """Parse a split.

    Raises:
        InputError: it is none of those known.
    """
    if text == LEAVE_ONE_OUT:
        return SplitRule("leave-one-out")
    if text == _GIVEN:
        return SplitRule("given")
    if text.startswith(_TIME) and text != _TIME:
        value = text.removeprefix(_TIME)
        share = _share(value)
        if share is not None and not 0 < share < 1:
            raise InputError(f"--split {shown(text)}: a share lies between 0 and 1, such as time:0.1; or give a date")
        return SplitRule("time", value)
    raise InputError(
        f"--split {shown(text)} is unknown: give {LEAVE_ONE_OUT}, time:DATE, time:SHARE such as time:0.1, or given"
    )


def _share(text: str) -> float | None:
    try:
        share = float(text)
    except ValueError:
        return None
    return share if math.isfinite(share) else None
