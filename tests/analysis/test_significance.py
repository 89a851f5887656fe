"""A paired gain: its mean by hand, an interval that covers as often as it says, over seeds as over users."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import ttest_rel

from rsir_scale.analysis.significance import Values, difference, holm, paired_gain


def _runs(seeds: int, users: int, *, lift: float, seed: int = 0) -> tuple[Values, Values]:
    numbers = np.random.default_rng(seed)
    base = (numbers.random((seeds, users)) < 0.2).astype(np.float64)
    treated = np.where(numbers.random((seeds, users)) < lift, 1.0, base)
    return base, treated


def _covered(*, seeds: int, by_seed: float, by_user: float, times: int = 600) -> float:
    """How often the interval of runs without a gain holds zero, when they differ by seed, by user and beyond."""
    numbers, users, held = np.random.default_rng(7), 60, 0
    for _ in range(times):
        effect = numbers.normal(0, 1, (seeds, users))
        effect += numbers.normal(0, by_seed, (seeds, 1)) + numbers.normal(0, by_user, (1, users))
        gain = paired_gain(np.ones_like(effect), 1 + effect / 100)
        held += gain.low <= 0.0 <= gain.high
    return held / times


def test_the_mean_gain_is_the_ratio_of_the_means() -> None:
    base, treated = np.array([[1.0, 0.5], [1.0, 2.0]]), np.array([[1.0, 1.0], [2.0, 2.75]])
    gain = paired_gain(base, treated)
    assert gain.mean == pytest.approx(6.75 / 4.5 - 1)
    assert gain.per_seed == pytest.approx((2 / 1.5 - 1, 4.75 / 3 - 1))
    assert gain.low <= gain.mean <= gain.high


@pytest.mark.parametrize("seeds", [1, 3])
def test_equal_runs_gain_exactly_nothing(seeds: int) -> None:
    base, _ = _runs(seeds, 500, lift=0.0)
    gain = paired_gain(base, base)
    assert (gain.mean, gain.low, gain.high) == (0.0, 0.0, 0.0)


def test_a_planted_gain_is_found_and_lies_in_its_interval() -> None:
    gain = paired_gain(*_runs(5, 3000, lift=0.05))
    # Of the users not served (0.8), 5 % now are: a gain of 0.04 over 0.2.
    assert gain.low < 0.2 < gain.high
    assert gain.low > 0.1


@pytest.mark.parametrize("seeds", [3, 5, 10])
@pytest.mark.parametrize(("by_seed", "by_user"), [(0.0, 0.0), (0.0, 1.0), (0.3, 0.0), (0.3, 1.0)])
def test_an_interval_covers_as_often_as_it_says(seeds: int, by_seed: float, by_user: float) -> None:
    assert 0.92 <= _covered(seeds=seeds, by_seed=by_seed, by_user=by_user) <= 0.99


def test_one_seed_has_the_interval_of_its_users() -> None:
    assert 0.92 <= _covered(seeds=1, by_seed=0.0, by_user=1.0) <= 0.98


def test_more_users_narrow_the_interval() -> None:
    widths = []
    for users in (200, 5000):
        gain = paired_gain(*_runs(5, users, lift=0.05))
        widths.append(gain.high - gain.low)
    assert widths[1] < widths[0] / 2


def test_users_by_the_million_do_not_make_up_for_seeds_that_disagree() -> None:
    base = np.ones((2, 100_000))
    gain = paired_gain(base, base + np.array([[0.00], [0.02]]))
    assert gain.low < -0.1


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_seeds_that_agree_by_luck_make_no_interval_narrower_than_seeds_that_are_alike(seeds: int) -> None:
    numbers, users = np.random.default_rng(2), 60
    for _ in range(50):
        effect = numbers.normal(0, 1, (seeds, users)) + numbers.normal(0, 1, (1, users))
        effect -= 0.9 * effect.mean(1, keepdims=True)
        gain = paired_gain(np.ones_like(effect), 1 + effect / 100)
        # Known to be drawn like this: what is left of each user under each seed, and what users differ by.
        of_user, of_seed = effect.mean(0), effect.mean(1)[:, None]
        left = ((effect - of_seed - of_user + effect.mean()) ** 2).sum() / ((seeds - 1) * (users - 1))
        least = 1.959964 * max(of_user.var(ddof=1), left / seeds) ** 0.5 / users**0.5
        assert 100 * (gain.high - gain.low) / 2 >= 0.999999 * least


def test_runs_of_other_users_or_seeds_are_refused() -> None:
    with pytest.raises(ValueError, match="differ: give the same seeds and users"):
        paired_gain(np.zeros((2, 3)), np.zeros((2, 4)))


tables = st.integers(1, 4).flatmap(
    lambda seeds: arrays(np.float64, (2, seeds, 12), elements=st.floats(0, 1, width=16), fill=st.nothing())
)


@given(tables)
def test_the_p_value_is_below_a_twentieth_exactly_where_the_interval_excludes_nothing(pair: Values) -> None:
    found = difference(pair[0], pair[1])
    nearest = min(abs(found.low), abs(found.high))
    if nearest > 1e-9:
        assert (found.p < 0.05) == (found.low > 0.0 or found.high < 0.0)


@given(tables)
def test_a_difference_the_other_way_round_has_the_other_sign_and_the_same_p(pair: Values) -> None:
    one, other = difference(pair[0], pair[1]), difference(pair[1], pair[0])
    assert (other.mean, other.low, other.high) == pytest.approx((-one.mean, -one.high, -one.low))
    assert other.p == pytest.approx(one.p)


@given(arrays(np.float64, (2, 1, 20), elements=st.floats(0, 1, width=16), fill=st.nothing()))
def test_one_seed_has_the_paired_t_test_of_scipy(pair: Values) -> None:
    assume(np.ptp(pair[1] - pair[0]) > 1e-3)
    theirs = ttest_rel(pair[1, 0], pair[0, 0])
    ours, interval = difference(pair[0], pair[1]), theirs.confidence_interval(0.95)
    assert ours.p == pytest.approx(theirs.pvalue, abs=1e-12)
    assert (ours.low, ours.high) == pytest.approx((interval.low, interval.high), abs=1e-12)


def test_a_true_difference_of_the_detectable_size_is_shown_four_times_in_five() -> None:
    numbers, users, shown = np.random.default_rng(3), 100, 0
    of_sd_1 = np.repeat([1.0, -1.0], users // 2)[None] * ((users - 1) / users) ** 0.5
    size = difference(np.zeros((1, users)), of_sd_1).detectable
    for _ in range(800):
        effect = numbers.normal(size, 1, (1, users))
        shown += difference(np.zeros_like(effect), effect).low > 0.0
    assert 0.75 <= shown / 800 <= 0.85


def plain_holm(p_values: list[float]) -> list[float]:
    """Step by step, as the paper has it: the smallest first, each no smaller than the one before it."""
    left = sorted(range(len(p_values)), key=p_values.__getitem__)
    corrected, last = [0.0] * len(p_values), 0.0
    while left:
        last = max(last, min(1.0, len(left) * p_values[left[0]]))
        corrected[left.pop(0)] = last
    return corrected


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_s_correction_is_that_of_the_paper(p_values: list[float]) -> None:
    corrected = holm(p_values)
    assert list(corrected) == plain_holm(p_values)
    assert all(before <= after <= 1.0 for before, after in zip(p_values, corrected, strict=True))


def test_a_single_user_has_no_interval() -> None:
    with pytest.raises(ValueError, match="1 users have no interval"):
        difference(np.zeros((2, 1)), np.ones((2, 1)))
