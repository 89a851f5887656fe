"""What may be claimed of two models: the relative gain of paired runs with an interval over seeds and users.

Seeds and users are both samples, so both are resampled: seeds as pairs (base and treated run of the same seed stay
together), users across all seeds at once. Users are weighted by Poisson(1) counts, which for thousands of users equals
drawing them with replacement and needs no index table.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rsir_scale.randomness import Purpose, generator

_DRAWS_PER_BLOCK = 250
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


def paired_gain(base: Values, treated: Values, *, level: float = 0.95, draws: int = 2000, seed: int = 0) -> Gain:
    """Compare paired runs.

    Args:
        base: metric of each user under each base run, `[seeds, users]`.
        treated: the same under the treated runs, rows and columns in the same order.
        level: mass of the interval.
        draws: bootstrap resamples.
        seed: of the resampling.

    Raises:
        ValueError: the two tables differ in shape.
    """
    if base.shape != treated.shape:
        raise ValueError(f"base {base.shape} and treated {treated.shape} are no pairs: give the same seeds and users")
    draw = generator(seed, Purpose.BOOTSTRAP)
    seeds, users = base.shape
    gains = []
    for start in range(0, draws, _DRAWS_PER_BLOCK):
        block = min(_DRAWS_PER_BLOCK, draws - start)
        user_weight = draw.poisson(1.0, size=(users, block)).astype(np.float64)
        seed_weight = draw.multinomial(seeds, np.full(seeds, 1.0 / seeds), size=block).T
        before = (seed_weight * (base @ user_weight)).sum(0)
        after = (seed_weight * (treated @ user_weight)).sum(0)
        gains.append(after / before - 1.0)
    low, high = np.quantile(np.concatenate(gains), [(1 - level) / 2, (1 + level) / 2])
    per_seed = treated.mean(1) / base.mean(1) - 1.0
    return Gain(float(treated.mean() / base.mean() - 1.0), float(low), float(high), tuple(float(g) for g in per_seed))
