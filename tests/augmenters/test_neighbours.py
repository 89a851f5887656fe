"""Which item resembles which: the tables that plain Python counts and multiplies one pair at a time."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rsir_scale.augmenters.neighbours import Nearest, by_occurrence, by_vectors, larger, occurring
from tests.augmenters import plain
from tests.augmenters.rsir.worlds import sequences_of

ITEMS = 9
few = settings(max_examples=40)
logs = st.lists(st.lists(st.integers(1, ITEMS), min_size=1, max_size=8), min_size=1, max_size=8)


def as_table(known: list[int], nearest: Nearest) -> dict[int, tuple[int, float]]:
    return dict(zip(known, zip(nearest.item_K.tolist(), nearest.score_K.tolist(), strict=True), strict=True))


@few
@given(rows=logs, pairs_at_once=st.sampled_from([1, 5, 1000]))
def test_by_occurrence_equals_plain_counting_however_many_pairs_are_held(
    rows: list[list[int]], pairs_at_once: int
) -> None:
    sequences = sequences_of(rows)
    known = occurring(sequences).tolist()
    expected = plain.nearest(known, plain.together(rows))
    assert as_table(known, by_occurrence(sequences, pairs_at_once=pairs_at_once)) == expected


@few
@given(
    rows=logs,
    numbers=st.integers(0, 2**32 - 1),
    spread=st.sampled_from([1, 3, 50]),
    pairs_at_once=st.sampled_from([1, 20, 1000]),
)
def test_by_vectors_equals_plain_products_ties_included(
    rows: list[list[int]], numbers: int, spread: int, pairs_at_once: int
) -> None:
    vectors = np.random.default_rng(numbers).integers(-spread, spread + 1, (ITEMS + 1, 3)).astype(float)
    vectors[0] = np.nan  # padding may hold anything
    known = occurring(sequences_of(rows))
    expected = plain.nearest(known.tolist(), plain.products(known.tolist(), vectors.tolist()))
    assert as_table(known.tolist(), by_vectors(known, vectors, pairs_at_once=pairs_at_once)) == expected


def test_occurring_together_in_short_sequences_counts_for_more() -> None:
    # 1 and 2 alone in one sequence; 1 and 3 in a long one: the same number of times, the same number of holders.
    nearest = by_occurrence(sequences_of([[1, 2], [1, 3, 4, 5, 6], [2, 7], [3, 8]]))
    assert nearest.item_K[0] == 2


def test_an_item_that_is_everywhere_resembles_less_than_one_that_comes_with_it() -> None:
    nearest = by_occurrence(sequences_of([[1, 2, 9], [3, 9], [4, 9], [5, 9]]))
    assert nearest.item_K[:2].tolist() == [2, 1]


def test_an_item_alone_resembles_none() -> None:
    sequences = sequences_of([[3, 3], [1, 2]])
    assert by_occurrence(sequences).item_K.tolist() == [2, 1, 0]
    assert by_vectors(np.array([3]), np.ones((4, 2))).item_K.tolist() == [0]


def test_the_larger_score_wins_and_of_equal_ones_the_first() -> None:
    one = Nearest(np.array([1, 2, 3, 0]), np.array([0.5, 0.2, 0.9, -np.inf]))
    other = Nearest(np.array([4, 5, 6, 7]), np.array([0.5, 0.3, 0.1, 0.0]))
    best = larger(one, other)
    assert best.item_K.tolist() == [1, 5, 3, 7]
    assert best.score_K == pytest.approx([0.5, 0.3, 0.9, 0.0])
