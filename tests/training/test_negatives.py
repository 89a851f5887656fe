"""Negatives come from the whole catalogue alike, know what they stand for, and are found in the rows that hold them."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rsir_scale.training.batches import make_batch
from rsir_scale.training.negatives import draw_negatives, own_negatives
from tests.training.market import sequences_of


def _draws(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_draws_are_those_that_earlier_runs_made() -> None:
    drawn = draw_negatives(32, item_count=80, generator=_draws(5))
    assert torch.equal(drawn.item_N, torch.unique(torch.randint(1, 81, (32,), generator=_draws(5))))
    assert drawn.log_stands_for == pytest.approx(np.log(80 / len(drawn.item_N)))


@given(count=st.integers(1, 40), seed=st.integers(0, 10**6))
def test_draws_are_distinct_ascending_items_of_the_catalogue(count: int, seed: int) -> None:
    item_N = draw_negatives(count, item_count=5, generator=_draws(seed)).item_N
    assert item_N.dtype == torch.int64
    assert item_N.tolist() == sorted(set(item_N.tolist()))
    assert int(item_N[0]) >= 1
    assert int(item_N[-1]) <= 5
    assert len(item_N) <= count


def test_every_item_is_drawn_alike_and_the_draws_stand_for_the_catalogue_on_average() -> None:
    value_V = np.array([0.0, 3.0, -1.0, 2.0, 5.0, 1.0])
    times_V, sums = np.zeros(6), []
    for seed in range(6000):
        drawn = draw_negatives(3, item_count=5, generator=_draws(seed))
        times_V[drawn.item_N] += 1
        sums.append((value_V[drawn.item_N] * np.exp(drawn.log_stands_for)).sum())
    assert times_V[0] == 0
    assert np.abs(times_V[1:] / times_V.sum() - 0.2).max() < 0.01
    assert np.mean(sums) == pytest.approx(value_V.sum(), abs=4 * np.std(sums) / np.sqrt(len(sums)))


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
