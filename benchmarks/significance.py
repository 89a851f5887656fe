"""What may be claimed of two models: the relative gain of paired runs with an interval over seeds and users.

Seeds and users are both samples, and every seed meets every user: the design of studies in which several readers read
the same cases. The interval is theirs (Dorfman, Berbaum and Metz, 1992, with the degrees of freedom of Hillis,
Statistics in Medicine 26, 2007): what differs between seeds, what differs between users, and what is left of a user
under a seed are told apart, and a gain that few seeds agree on gets the wide interval of few seeds. To resample seeds
and users together counts what is left three times (Owen, Annals of Applied Statistics 1, 2007), and with three seeds
knows too little of how they differ; `interval_coverage.py` shows both.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import t as student

Values = npt.NDArray[np.float64]


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


def paired_gain(base: Values, treated: Values, *, level: float = 0.95) -> Gain:
    """Compare paired runs; with one seed the interval is over users alone.

    Args:
        base: metric of each user under each base run, `[seeds, users]`.
        treated: the same under the treated runs, rows and columns in the same order.
        level: how often such an interval holds the gain.

    Raises:
        ValueError: the two tables differ in shape.
    """
    if base.shape != treated.shape:
        raise ValueError(f"base {base.shape} and treated {treated.shape} are no pairs: give the same seeds and users")
    mean = float(treated.mean() / base.mean() - 1.0)
    # What each user under each seed adds to the gain, as far as a ratio is linear.
    variance, freedom = variance_of_mean((treated - (1.0 + mean) * base) / base.mean())
    half = float(student.ppf((1 + level) / 2, freedom)) * variance**0.5
    per_seed = treated.mean(1) / base.mean(1) - 1.0
    return Gain(mean, mean - half, mean + half, tuple(float(gain) for gain in per_seed))


def variance_of_mean(effect: Values) -> tuple[float, float]:
    """Return the variance of the mean of `[seeds, users]` effects, both of them samples, and its degrees of freedom."""
    seeds, users = effect.shape
    of_seed, of_user = effect.mean(1, keepdims=True), effect.mean(0, keepdims=True)
    between_users = seeds * of_user.var(ddof=1)
    if seeds == 1:
        return between_users / users, users - 1.0
    between_seeds = users * of_seed.var(ddof=1)
    left = ((effect - of_seed - of_user + effect.mean()) ** 2).sum() / ((seeds - 1) * (users - 1))
    whole = between_seeds + max(between_users - left, 0.0)
    if whole == 0.0:
        return 0.0, seeds - 1.0
    return whole / (seeds * users), (seeds - 1) * (whole / between_seeds) ** 2
