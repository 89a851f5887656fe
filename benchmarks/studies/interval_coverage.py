"""How often does an interval over seeds and users hold the true gain, and how wide is it?

    python -m benchmarks.studies.interval_coverage --json docs/results/interval-coverage.json

Studies are drawn whose true gain is nothing: a user's effect under a seed is a normal number of the seed, one of the
user, and one of the two together. Their sizes are in per cent of the base: `seed_sd` is what seeds differ by, `user_sd`
what the mean over all users would differ by in another sample of users, and what is left adds 1 % to the mean of one
seed, about what it does in the studies of docs/results.md. `crossed` is `significance.paired_gain`; `bootstrap`
resamples seeds and users together, as these studies did until November 2026.
"""

import argparse
from itertools import product
from pathlib import Path

import numpy as np

from benchmarks.record.result_file import Row, write_rows
from rsir_scale.analysis.significance import paired_gain

USERS = 200
RESAMPLES = 500
LEVEL = 0.95
SEEDS = (2, 3, 4, 5, 10)
SEED_SDS = (0.0, 0.5, 1.0, 2.0)
USER_SDS = (0.2, 0.5)


def main() -> None:
    """Draw the studies of every row, and write how the intervals did."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=2000, help="of each row")
    parser.add_argument("--json", type=Path, required=True)
    arguments = parser.parse_args()
    rows = [
        row_of(arguments.studies, seeds, seed_sd, user_sd)
        for seeds, seed_sd, user_sd in product(SEEDS, SEED_SDS, USER_SDS)
    ]
    write_rows(arguments.json, rows)


def row_of(studies: int, seeds: int, seed_sd: float, user_sd: float) -> Row:
    """How both intervals do on studies of this kind."""
    draw = np.random.default_rng((seeds, round(100 * seed_sd), round(100 * user_sd)))
    low_high: dict[str, list[tuple[float, float]]] = {"crossed": [], "bootstrap": []}
    for _ in range(studies):
        effect = draw.normal(0, USERS**0.5, (seeds, USERS)) + draw.normal(0, seed_sd, (seeds, 1))
        effect += draw.normal(0, user_sd * USERS**0.5, (1, USERS))
        gain = paired_gain(np.ones_like(effect), 1 + effect / 100, level=LEVEL)
        low_high["crossed"].append((100 * gain.low, 100 * gain.high))
        low_high["bootstrap"].append(resampled(effect, draw))
    row: Row = {"seeds": seeds, "seed_sd": seed_sd, "user_sd": user_sd, "studies": studies}
    for name, found in low_high.items():
        low, high = np.array(found).T
        row[f"{name}_coverage"] = float(np.mean((low <= 0) & (high >= 0)))
        row[f"{name}_width"] = float(np.median(high - low))
    return row


def resampled(effect: np.ndarray, draw: np.random.Generator) -> tuple[float, float]:
    """The interval of the percentile bootstrap that draws seeds and users anew."""
    seeds, users = effect.shape
    user_weight = draw.poisson(1.0, size=(users, RESAMPLES)).astype(np.float64)
    seed_weight = draw.multinomial(seeds, np.full(seeds, 1.0 / seeds), size=RESAMPLES).T
    means = (seed_weight * (effect @ user_weight)).sum(0) / (seeds * user_weight.sum(0))
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


if __name__ == "__main__":
    main()
