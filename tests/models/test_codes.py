"""Codes tell items apart, group those that are alike, and are the same wherever they are computed."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsir_scale.errors import ConfigError
from rsir_scale.models.codes import codebook_values, collaborative_vectors, numbered, residual_codes
from tests.training.market import sequences_of


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=60).filter(
        lambda rows: max(map(rows.count, rows)) <= 16
    )
)
def test_numbering_makes_all_rows_differ_and_numbers_each_group_from_zero(rows: list[tuple[int, int]]) -> None:
    code_VM = np.array(rows, dtype=np.int64)
    full_VM = numbered(code_VM, size=16)
    assert np.array_equal(full_VM[:, :2], code_VM)
    assert len({tuple(row) for row in full_VM.tolist()}) == len(rows)
    for group in set(rows):
        assert sorted(full_VM[[row == group for row in rows], 2]) == list(range(rows.count(group)))


def test_too_many_items_of_the_same_codes_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"5 items share all their codes.*model\.codebook_size=4.* of 5 or more"):
        numbered(np.zeros((5, 2), dtype=np.int64), size=4)


@pytest.mark.parametrize(
    ("asked", "items", "values"), [(None, 1_000_000, 4096), (None, 300, 100), (None, 4, 2), (7, 300, 7)]
)
def test_a_code_has_a_third_as_many_values_as_there_are_items_within_bounds(asked, items: int, values: int) -> None:
    assert codebook_values(asked, items) == values


def test_more_values_than_items_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"model\.codebook_size=8 is more than the catalogue has items, 7"):
        residual_codes(np.ones((7, 2), dtype=np.float32), codebooks=1, size=8, seed=1)


def test_each_code_leaves_less_than_the_one_before() -> None:
    vector_Vd = np.random.default_rng(1).standard_normal((400, 8)).astype(np.float32)
    code_VM = residual_codes(vector_Vd, codebooks=3, size=16, seed=1)
    assert code_VM.min() >= 0
    assert code_VM.max() < 16
    spread = [float((vector_Vd**2).sum())]
    for level in range(3):
        _, group_V = np.unique(code_VM[:, : level + 1], axis=0, return_inverse=True)
        inside = sum(
            float(((vector_Vd[group_V == group] - vector_Vd[group_V == group].mean(0)) ** 2).sum())
            for group in range(group_V.max() + 1)
        )
        spread.append(inside)
    assert all(later < 0.75 * earlier for earlier, later in pairwise(spread))


def test_items_of_which_nothing_is_known_are_told_apart() -> None:
    vector_Vd = np.zeros((64, 4), dtype=np.float32)
    vector_Vd[:8] = np.random.default_rng(2).standard_normal((8, 4))
    code_VM = residual_codes(vector_Vd, codebooks=2, size=16, seed=3)
    _, count_G = np.unique(code_VM, axis=0, return_counts=True)
    assert count_G[count_G > 1].sum() < 16
    assert np.array_equal(code_VM, residual_codes(vector_Vd, codebooks=2, size=16, seed=3))
    assert not np.array_equal(code_VM, residual_codes(vector_Vd, codebooks=2, size=16, seed=4))


def test_items_of_which_nothing_is_known_are_spread_as_far_as_those_that_are() -> None:
    vector_Vd = np.zeros((60, 4), dtype=np.float32)
    vector_Vd[:30] = 1e4 * np.random.default_rng(2).standard_normal((30, 4))
    first_V = residual_codes(vector_Vd, codebooks=1, size=16, seed=3)[:, 0]
    assert len(set(first_V[30:])) > 8


def test_beside_a_single_item_that_is_known_the_others_are_told_apart_too() -> None:
    vector_Vd = np.zeros((40, 4), dtype=np.float32)
    vector_Vd[3] = 1.0
    code_VM = residual_codes(vector_Vd, codebooks=2, size=16, seed=3)
    assert len(np.unique(code_VM, axis=0)) > 30


def test_items_that_the_same_sequences_hold_lie_near_each_other() -> None:
    sequences = sequences_of([[1, 2, 3]] * 5 + [[4, 5, 6, 6]] * 4 + [[7]])
    vector_Vd = collaborative_vectors(sequences, item_count=8, width=4, seed=1)
    assert vector_Vd.shape == (8, 4)
    assert not vector_Vd[7].any()
    unit_Vd = vector_Vd[:7] / np.linalg.norm(vector_Vd[:7], axis=1, keepdims=True)
    cosine_VV = unit_Vd @ unit_Vd.T
    groups = np.array([0, 0, 0, 1, 1, 1, 2])
    same = groups[:, None] == groups
    assert cosine_VV[same].min() > 0.99
    assert abs(cosine_VV[~same]).max() < 0.01
    again_Vd = collaborative_vectors(sequences, item_count=8, width=4, seed=1)
    assert np.array_equal(vector_Vd, again_Vd)


def test_the_vectors_are_those_of_the_matrix_divided_by_the_fourth_roots_of_its_sums() -> None:
    rows = [[1, 2, 3], [1, 2], [1, 4], [3, 4, 5, 1], [5, 2, 2]]
    held_SV = np.array([[item in row for item in range(1, 6)] for row in rows], dtype=np.float64)
    scaled_SV = held_SV / (held_SV.sum(1)[:, None] * held_SV.sum(0)) ** 0.25
    _, weight_d, vector_dV = np.linalg.svd(scaled_SV, full_matrices=False)
    expected_Vd = vector_dV.T * weight_d
    found_Vd = collaborative_vectors(sequences_of(rows), item_count=5, width=5, seed=1)
    # Up to the signs of the dimensions, on which no distance depends.
    expected_VV = expected_Vd @ expected_Vd.T
    length_V = np.sqrt(np.diag(expected_VV))
    np.testing.assert_allclose(found_Vd @ found_Vd.T, expected_VV / np.outer(length_V, length_V), atol=1e-5)


def test_a_market_smaller_than_the_width_has_fewer_dimensions() -> None:
    assert collaborative_vectors(sequences_of([[1, 2], [2, 3]]), item_count=3, width=64, seed=1).shape == (3, 2)
