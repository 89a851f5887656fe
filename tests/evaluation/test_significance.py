"""A paired gain: its mean by hand, an interval that covers, narrows with users and shows nothing for an A/A pair."""

import numpy as np
import pytest

from rsir_scale.evaluation.significance import paired_gain


def _runs(seeds: int, users: int, *, lift: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    numbers = np.random.default_rng(seed)
    base = (numbers.random((seeds, users)) < 0.2).astype(np.float64)
    treated = np.where(numbers.random((seeds, users)) < lift, 1.0, base)
    return base, treated


def test_the_mean_gain_is_the_ratio_of_the_means() -> None:
    base, treated = np.array([[1.0, 0.5], [1.0, 2.0]]), np.array([[1.0, 1.0], [2.0, 2.75]])
    gain = paired_gain(np.repeat(base, 9, axis=1), np.repeat(treated, 9, axis=1), draws=10)
    assert gain.mean == pytest.approx(6.75 / 4.5 - 1)
    assert gain.per_seed == pytest.approx((2 / 1.5 - 1, 4.75 / 3 - 1))
    assert gain.low <= gain.high


def test_equal_runs_gain_exactly_nothing() -> None:
    base, _ = _runs(3, 500, lift=0.0)
    gain = paired_gain(base, base)
    assert (gain.mean, gain.low, gain.high) == (0.0, 0.0, 0.0)


def test_a_planted_gain_is_found_and_lies_in_its_interval() -> None:
    base, treated = _runs(5, 3000, lift=0.05)
    gain = paired_gain(base, treated)
    # Of the users not served (0.8), 5 % now are: a gain of 0.04 over 0.2.
    assert gain.low < 0.2 < gain.high
    assert gain.low > 0.1


def test_independent_runs_of_one_model_are_mostly_not_significant() -> None:
    covered = []
    for seed in range(40):
        base, _ = _runs(4, 400, lift=0.0, seed=seed)
        again, _ = _runs(4, 400, lift=0.0, seed=1000 + seed)
        gain = paired_gain(base, again, draws=300)
        covered.append(gain.low <= 0.0 <= gain.high)
    assert np.mean(covered) >= 0.85


def test_more_users_narrow_the_interval() -> None:
    widths = []
    for users in (200, 5000):
        gain = paired_gain(*_runs(5, users, lift=0.05))
        widths.append(gain.high - gain.low)
    assert widths[1] < widths[0] / 2


def test_the_interval_belongs_to_its_seed() -> None:
    base, treated = _runs(3, 300, lift=0.05)
    assert paired_gain(base, treated, seed=1) == paired_gain(base, treated, seed=1)
    assert paired_gain(base, treated, seed=1) != paired_gain(base, treated, seed=2)


def test_runs_that_are_no_pairs_are_refused() -> None:
    with pytest.raises(ValueError, match="no pairs"):
        paired_gain(np.zeros((2, 3)), np.zeros((2, 4)))
