"""Negatives come as often as the settings say, know what they stand for, and are found in the rows that hold them."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rsir_scale.config.settings import TrainingConfig
from rsir_scale.training.batches import make_batch
from rsir_scale.training.negatives import PopularitySampler, UniformSampler, own_negatives, sampler_of
from tests.training.market import sequences_of

COUNTS = np.array([99, 0, 1, 4, 16, 64])


def _draws(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_uniform_draws_are_those_that_earlier_runs_made() -> None:
    drawn = UniformSampler(80).draw(32, _draws(5))
    assert torch.equal(drawn.item_N, torch.unique(torch.randint(1, 81, (32,), generator=_draws(5))))
    assert drawn.log_stands_for == pytest.approx(np.log(80 / len(drawn.item_N)))


@pytest.mark.parametrize(
    ("power", "shares"), [(0.0, [1, 1, 1, 1, 1]), (0.5, [1, 1, 2, 4, 8]), (1.0, [1, 1, 4, 16, 64])]
)
def test_popular_items_are_drawn_in_proportion_to_the_power_of_their_count(power: float, shares: list[int]) -> None:
    sampler = PopularitySampler(COUNTS, power)
    times = np.zeros(6)
    for seed in range(4000):
        times[sampler.draw(1, _draws(seed)).item_N] += 1
    assert times[0] == 0
    expected = np.array(shares) / sum(shares)
    assert np.abs(times[1:] / 4000 - expected).max() < 0.03


@given(count=st.integers(1, 40), seed=st.integers(0, 10**6))
def test_draws_are_distinct_ascending_items_of_the_catalogue(count: int, seed: int) -> None:
    for sampler in (UniformSampler(5), PopularitySampler(COUNTS, 0.75)):
        item_N = sampler.draw(count, _draws(seed)).item_N
        assert item_N.dtype == torch.int64
        assert item_N.tolist() == sorted(set(item_N.tolist()))
        assert int(item_N[0]) >= 1
        assert int(item_N[-1]) <= 5
        assert len(item_N) <= count


@pytest.mark.parametrize(
    "sampler", [UniformSampler(5), PopularitySampler(COUNTS, 0.75), PopularitySampler(COUNTS, 1.0)]
)
def test_what_the_draws_stand_for_adds_up_to_the_catalogue_on_average(sampler: UniformSampler) -> None:
    value_V = np.array([0.0, 3.0, -1.0, 2.0, 5.0, 1.0])
    sums = []
    for seed in range(6000):
        drawn = sampler.draw(3, _draws(seed))
        stands_for = np.exp(np.asarray(drawn.log_stands_for))
        sums.append((value_V[drawn.item_N] * stands_for).sum())
    assert np.mean(sums) == pytest.approx(value_V.sum(), abs=4 * np.std(sums) / np.sqrt(len(sums)))


def test_one_item_that_is_all_there_is_stands_for_itself() -> None:
    drawn = PopularitySampler(np.array([0, 7]), 1.0).draw(3, _draws(0))
    assert drawn.item_N.tolist() == [1]
    assert float(torch.as_tensor(drawn.log_stands_for)) == pytest.approx(0.0)


def test_popularity_counts_what_is_trained_on() -> None:
    items = np.array([2] * 97 + [3], dtype=np.int32)
    sampler = sampler_of(TrainingConfig(negative_sampling="popularity", popularity_power=1.0), items, 4)
    drawn = [int(sampler.draw(1, _draws(seed)).item_N[0]) for seed in range(200)]
    assert np.mean(np.array(drawn) == 2) > 0.9


@given(
    rows=st.lists(st.lists(st.integers(1, 9), min_size=2, max_size=6), min_size=1, max_size=5),
    negatives=st.sets(st.integers(1, 9), min_size=1),
)
def test_a_negative_is_hidden_from_just_the_targets_whose_sequence_holds_it(
    rows: list[list[int]], negatives: set[int]
) -> None:
    rows = sorted(rows, key=len)
    batch = make_batch(
        sequences_of(rows), np.arange(len(rows)), max_length=9, weights=np.ones(len(rows), dtype=np.float32)
    )
    row_T = (batch.target_BL > 0).nonzero(as_tuple=True)[0]
    ordered = sorted(negatives)
    hidden = own_negatives(batch, row_T, torch.tensor(ordered))
    expected = {(t, n) for t, row in enumerate(row_T.tolist()) for n, item in enumerate(ordered) if item in rows[row]}
    assert set(zip(hidden.row_H.tolist(), hidden.column_H.tolist(), strict=True)) == expected
