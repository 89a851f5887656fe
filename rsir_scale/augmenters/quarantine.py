"""Which sources fail, whatever company they are in, so that the others can do without them.

Comes in: work over rows, which are the sources of a shard or of a sample. Goes out: what the work gives for the rows
that survive, and the reason of each that does not. A result of ours does not depend on a row's company, so halving
finds the rows that fail on their own: each is tried in company first, and twice alone. Errors of our own family are
about the run and not about a row: a full disk is not tried again.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from rsir_scale.errors import ResumableError, RsirError, reason_of

Rows = npt.NDArray[np.int64]
Result = TypeVar("Result")
_TIMES_ALONE = 2


@dataclass(frozen=True)
class Survived(Generic[Result]):
    """What work gave.

    Attributes:
        result: of the rows that survived.
        rows: int64, these rows, ascending.
        failed: the others, ascending, with the reason of each.
    """

    result: Result
    rows: Rows
    failed: dict[int, str]


class _TooManyError(Exception):
    """More rows fail than may."""


def survive(work: Callable[[Rows], Result], count: int, *, max_rate: float) -> Survived[Result]:
    """Do work over rows 0..count-1, without those that make it fail.

    Args:
        work: takes rows, ascending; its result for a row must not depend on the others.
        count: how many rows there are.
        max_rate: share of them, rounded up, that may be left out.

    Raises:
        RsirError: what the work raised of our own family.
        ResumableError: more rows fail than may, or they fail together and none of them alone.
    """
    everyone = np.arange(count)
    try:
        return Survived(work(everyone), everyone, {})
    except RsirError:
        raise
    except Exception as error:  # noqa: BLE001
        first = error
    most = most_failures(count, max_rate)
    failed: dict[int, str] = {}
    try:
        _find(work, everyone, failed, most)
    except _TooManyError as error:
        raise ResumableError(
            f"more than {most} of a shard's {count} sources fail, which is above run.max_error_rate={max_rate}; the "
            f"first reason: {reason_of(first)}: mend its cause, or raise the rate, and run the same command again"
        ) from error
    rows = np.setdiff1d(everyone, list(failed))
    try:
        return Survived(work(rows), rows, dict(sorted(failed.items())))
    except RsirError:
        raise
    except Exception as error:
        raise ResumableError(
            f"{len(rows)} sources of a shard fail together and none of them alone ({reason_of(error)}): where "
            "time ran out, raise run.shard_timeout_s and run the same command again; else mend the cause, or set a "
            "smaller generation.batch_size in a new run directory"
        ) from error


def most_failures(count: int, max_rate: float) -> int:
    """How many of `count` sources may be set aside: the share, rounded up."""
    # Up from the product, not from what it is off by in binary.
    return ceil(round(max_rate * count, 9))


def _find(work: Callable[[Rows], object], rows: Rows, failed: dict[int, str], most: int) -> None:
    """Add to `failed` those of `rows`, which fail together, that fail alone."""
    for half in np.array_split(rows, 2):
        if len(half) == 0:
            continue
        error = _try(work, half, times=_TIMES_ALONE if len(half) == 1 else 1)
        if error is None:
            continue
        if len(half) > 1:
            _find(work, half, failed, most)
            continue
        failed[int(half[0])] = reason_of(error)
        if len(failed) > most:
            raise _TooManyError


def _try(work: Callable[[Rows], object], rows: Rows, *, times: int) -> Exception | None:
    """The last error, None if one of the times went well."""
    last: Exception | None = None
    for _ in range(times):
        try:
            work(rows)
        except RsirError:
            raise
        except Exception as error:  # noqa: BLE001
            last = error
        else:
            return None
    return last
