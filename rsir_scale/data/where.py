"""Conditions on an interaction, as `--where` takes them: `event=purchase`, `rating>=4`, `day>=2024-01-01`.

Comes in: text. Goes out: a Polars expression over columns of text. Where the wanted value is a number, numbers are
compared, and what is not a number fails; else text is compared with text, which is right for ISO dates.
"""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import eq, ge, gt, le, lt, ne
from typing import Any

import polars as pl

from rsir_scale.errors import InputError, shown

_FORM = re.compile(r"(?s)(.+?)(>=|<=|!=|==|=|>|<)(.*)")
_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    ">=": ge,
    "<=": le,
    "!=": ne,
    "==": eq,
    "=": eq,
    ">": gt,
    "<": lt,
}


@dataclass(frozen=True)
class Condition:
    """One condition: a column, an operator of `_COMPARE`, and the value it is compared with."""

    column: str
    operator: str
    value: str

    def holds(self) -> pl.Expr:
        """Whether a row meets it; a row without a value meets none."""
        text, compare = pl.col(self.column).cast(pl.String).str.strip_chars(), _COMPARE[self.operator]
        number = _number(self.value)
        met = compare(text, self.value) if number is None else compare(text.cast(pl.Float64, strict=False), number)
        return met.fill_null(False) if isinstance(met, pl.Expr) else pl.lit(met)


def conditions(texts: Sequence[str]) -> tuple[Condition, ...]:
    """Parse conditions.

    Raises:
        InputError: one has no column or no operator.
    """
    return tuple(_condition(text) for text in texts)


def all_hold(wanted: Sequence[Condition]) -> pl.Expr:
    """Whether a row meets every condition."""
    return pl.all_horizontal([condition.holds() for condition in wanted]) if wanted else pl.lit(True)


def _condition(text: str) -> Condition:
    found = _FORM.fullmatch(text)
    if found is None:
        raise InputError(
            f"--where {shown(text)} is not a condition: write COLUMN=VALUE, or another of {' '.join(_COMPARE)}, such "
            "as 'rating>=4'"
        )
    column, operator, value = found.groups()
    return Condition(column.strip(), operator, value.strip())


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
