"""What may be claimed of two models: the relative gain of paired runs with an interval over seeds and users.

Seeds and users are both samples, and every seed meets every user: the design of studies in which several readers read
the same cases. The interval is theirs (Dorfman, Berbaum and Metz, 1992, with the degrees of freedom of Hillis,
Statistics in Medicine 26, 2007): what differs between seeds, what differs between users, and what is left of a user
under a seed are told apart, and a gain that few seeds agree on gets the wide interval of few seeds. Their formula has
no floor: where few seeds agree by luck it is narrower than if seeds were known not to differ at all, and holds the gain
too seldom, so that the wider of the two is taken. To resample seeds and users together counts what is left three times
(Owen, Annals of Applied Statistics 1, 2007), and with three seeds knows too little of how they differ;
`interval_coverage.py` shows both.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import norm as normal
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
    half = half_width((treated - (1.0 + mean) * base) / base.mean(), level=level)
    per_seed = treated.mean(1) / base.mean(1) - 1.0
    return Gain(mean, mean - half, mean + half, tuple(float(gain) for gain in per_seed))


def half_width(effect: Values, *, level: float) -> float:
    """Half the interval of the mean of `[seeds, users]` effects, both of them samples.

    Seeds that happen to agree know no more than seeds that do not differ at all: that interval is the least.
    """
    seeds, users = effect.shape
    of_seed, of_user = effect.mean(1, keepdims=True), effect.mean(0, keepdims=True)
    between_users = seeds * of_user.var(ddof=1)
    quantile = (1 + level) / 2
    if seeds == 1:
        return float(student.ppf(quantile, users - 1) * (between_users / users) ** 0.5)
    between_seeds = users * of_seed.var(ddof=1)
    left = ((effect - of_seed - of_user + effect.mean()) ** 2).sum() / ((seeds - 1) * (users - 1))
    of_users = max(between_users - left, 0.0)
    alike = float(normal.ppf(quantile) * ((left + of_users) / (seeds * users)) ** 0.5)
    if between_seeds <= 0.0:
        return alike
    whole = between_seeds + of_users
    freedom = (seeds - 1) * (whole / between_seeds) ** 2
    return max(alike, float(student.ppf(quantile, freedom) * (whole / (seeds * users)) ** 0.5))
