"""What may be claimed of two models: the difference of paired runs with an interval over seeds and users.

Comes in: a metric of each user under each seed, of both models. Goes out: mean, interval, p-value, and the difference
that such a study would have shown. It reads no files.

Seeds and users are both samples, and every seed meets every user: the design of studies in which several readers read
the same cases. The interval is theirs (Dorfman, Berbaum and Metz, 1992, with the degrees of freedom of Hillis,
Statistics in Medicine 26, 2007): what differs between seeds, what differs between users, and what is left of a user
under a seed are told apart, and a gain that few seeds agree on gets the wide interval of few seeds. Their formula has
no floor: where few seeds agree by luck it is narrower than if seeds were known not to differ at all, and holds the gain
too seldom, so that the wider of the two is taken. To resample seeds and users together counts what is left three times
(Owen, Annals of Applied Statistics 1, 2007), and with three seeds knows too little of how they differ;
`benchmarks/studies/interval_coverage.py` shows both.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import stdtr, stdtrit

Values = npt.NDArray[np.float64]
LEVEL, POWER = 0.95, 0.8


@dataclass(frozen=True)
class Gain:
    """A relative gain, as fractions of the base.

    Attributes:
        mean: mean of the treated over mean of the base, less 1.
        low, high: bounds of the interval.
        per_seed: the gain of each pair alone.
    """

    mean: float
    low: float
    high: float
    per_seed: tuple[float, ...]


@dataclass(frozen=True)
class Difference:
    """A difference of two means, in the metric's own unit.

    Attributes:
        base, treated: the two means.
        mean: treated less base.
        low, high: bounds of its interval.
        p: of a difference at least as large where there is none; below 1 - level exactly where the interval excludes 0.
        detectable: the true difference that such a study shows in `POWER` of all cases.
    """

    base: float
    treated: float
    mean: float
    low: float
    high: float
    p: float
    detectable: float


def difference(base: Values, treated: Values, *, level: float = LEVEL) -> Difference:
    """Compare paired runs; with one seed the interval is over users alone.

    Args:
        base: metric of each user under each base run, `[seeds, users]`; two users or more.
        treated: the same under the treated runs, rows and columns in the same order.
        level: how often such an interval holds the difference.

    Raises:
        ValueError: the two tables differ in shape, or have fewer than two users.
    """
    _check_pairs(base, treated)
    effect = treated - base
    mean, half = float(effect.mean()), half_width(effect, level=level)
    return Difference(
        base=float(base.mean()),
        treated=float(treated.mean()),
        mean=mean,
        low=mean - half,
        high=mean + half,
        p=p_value(effect),
        detectable=detectable(effect, level=level),
    )


def paired_gain(base: Values, treated: Values, *, level: float = LEVEL) -> Gain:
    """Compare paired runs by the relative gain; arguments and errors are those of `difference`."""
    _check_pairs(base, treated)
    mean = float(treated.mean() / base.mean() - 1.0)
    # What each user under each seed adds to the gain, as far as a ratio is linear.
    half = half_width((treated - (1.0 + mean) * base) / base.mean(), level=level)
    per_seed = treated.mean(1) / base.mean(1) - 1.0
    return Gain(mean, mean - half, mean + half, tuple(float(gain) for gain in per_seed))


def half_width(effect: Values, *, level: float) -> float:
    """Half the interval of the mean of `[seeds, users]` effects, both of them samples."""
    quantile = (1 + level) / 2
    return max(float(stdtrit(freedom, quantile)) * error for error, freedom in _standard_errors(effect))


def p_value(effect: Values) -> float:
    """Two-sided p-value of the mean of `[seeds, users]` effects: the level at which `half_width` reaches 0."""
    mean = abs(float(effect.mean()))
    if mean == 0.0:
        return 1.0
    errors = _standard_errors(effect)
    return max(2.0 * float(stdtr(freedom, -mean / error)) if error else 0.0 for error, freedom in errors)


def detectable(effect: Values, *, level: float = LEVEL, power: float = POWER) -> float:
    """The true mean that a study with effects spread like these shows with probability `power`."""
    quantile = (1 + level) / 2
    return max(
        float(stdtrit(freedom, quantile) + stdtrit(freedom, power)) * error
        for error, freedom in _standard_errors(effect)
    )


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Correct p-values of one family for their number, in the order given.

    Source: Holm, Scandinavian Journal of Statistics 6, 1979.
    """
    corrected = [0.0] * len(p_values)
    largest = 0.0
    for place, index in enumerate(sorted(range(len(p_values)), key=lambda index: p_values[index])):
        largest = max(largest, min(1.0, (len(p_values) - place) * p_values[index]))
        corrected[index] = largest
    return tuple(corrected)


def _standard_errors(effect: Values) -> tuple[tuple[float, float], ...]:
    """Standard errors of the mean with their degrees of freedom; the wider of their intervals counts.

    Seeds that happen to agree know no more than seeds that do not differ at all: that interval is the least.
    """
    seeds, users = effect.shape
    of_seed, of_user = effect.mean(1, keepdims=True), effect.mean(0, keepdims=True)
    between_users = seeds * float(of_user.var(ddof=1))
    if seeds == 1:
        return (((between_users / users) ** 0.5, users - 1.0),)
    between_seeds = users * float(of_seed.var(ddof=1))
    left = float(((effect - of_seed - of_user + effect.mean()) ** 2).sum()) / ((seeds - 1) * (users - 1))
    of_users = max(between_users - left, 0.0)
    alike = (((left + of_users) / (seeds * users)) ** 0.5, np.inf)
    if between_seeds <= 0.0:
        return (alike,)
    whole = between_seeds + of_users
    freedom = (seeds - 1) * (whole / between_seeds) ** 2
    return alike, ((whole / (seeds * users)) ** 0.5, freedom)


def _check_pairs(base: Values, treated: Values) -> None:
    if base.shape != treated.shape:
        raise ValueError(f"base {base.shape} and treated {treated.shape} differ: give the same seeds and users")
    if base.shape[1] < 2:
        raise ValueError(f"{base.shape[1]} users have no interval: give two or more")
