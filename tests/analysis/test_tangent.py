"""Pairs of sources and what was written from them, and how far queries move between them."""

import numpy as np
import pytest
import torch
from hypothesis import given

from rsir_scale.analysis.tangent import Neighbours, cut_alike, movement, near_rows, neighbours, with_random
from rsir_scale.models.repository import load_trained
from tests.analysis.worlds import rows, sequences_of
from tests.evaluation.worlds import LastItemBackbone
from tests.loop.tiny_run import tiny_run


@given(one=rows(), other=rows())
def test_rows_are_cut_to_equal_length_from_the_front(one: list[list[int]], other: list[list[int]]) -> None:
    count = min(len(one), len(other))
    cut = cut_alike(sequences_of(one[:count]), sequences_of(other[:count]))
    for row, pair in enumerate(zip(one, other, strict=False)):
        length = min(map(len, pair))
        assert [each.row(row).tolist() for each in cut] == [whole[:length] for whole in pair]


@given(one=rows(), other=rows())
def test_random_items_stand_only_where_the_two_differ(one: list[list[int]], other: list[list[int]]) -> None:
    count = min(len(one), len(other))
    own, new = cut_alike(sequences_of(one[:count]), sequences_of(other[:count]))
    random = with_random(own, new, item_count=1000, seed=1)
    same = own.items == new.items
    assert random.items[same].tolist() == own.items[same].tolist()
    assert all(1 <= item <= 1000 for item in random.items.tolist())


def test_a_row_that_begins_otherwise_or_ends_the_same_is_not_near() -> None:
    own, new = sequences_of([[1, 2], [1, 2], [3, 4], []]), sequences_of([[1, 5], [1, 2], [5, 4], []])
    assert near_rows(own, new, np.array([1, 1, 0, 1])).tolist() == [0]


def test_pairs_begin_alike_and_differ_later_and_are_the_same_each_time() -> None:
    run = tiny_run()
    near = neighbours(run, pairs=30, seed=3)
    assert 0 < len(near.sources) <= 30
    again = neighbours(run, pairs=10, seed=3)
    assert again.generated.items.tolist() == near.generated.select(np.arange(10)).items.tolist()
    for row in range(len(near.sources)):
        source, new = near.sources.row(row), near.generated.row(row)
        assert source[0] == new[0]
        assert source.tolist() != new.tolist()


def test_movement_is_the_mean_of_squared_distances_over_squared_lengths() -> None:
    reads = torch.tensor([[0.0, 0.0], [3.0, 4.0], [3.0, 0.0], [0.0, 1.0]])
    backbone = LastItemBackbone(torch.zeros(4, 2), reads, max_length=5)
    near = Neighbours(sequences_of([[1], [3]]), sequences_of([[2], [3]]), sequences_of([[3], [2]]))
    found = movement(backbone, near)
    assert found is not None
    assert (found.pairs, found.generated) == (2, pytest.approx((16 / 25 + 0) / 2))
    assert found.random == pytest.approx((18 / 25 + 10 / 1) / 2)


def test_a_trained_model_moves_less_along_what_it_wrote_than_along_random_items() -> None:
    run = tiny_run()
    near = neighbours(run)
    found = movement(load_trained(run, 0), near)
    assert found is not None
    assert 0 < found.generated < found.random


def test_without_a_pair_there_is_no_movement() -> None:
    none = sequences_of([])
    backbone = LastItemBackbone(torch.zeros(4, 2), torch.zeros(4, 2), max_length=5)
    assert movement(backbone, Neighbours(none, none, none)) is None
