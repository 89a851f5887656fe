"""Approximate entropy against its definition, written out window by window."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsir_scale.analysis.entropy import (
    approximate_entropy,
    corpus_entropy,
    sequence_entropy,
    window_count,
    without_repeats,
)
from tests.analysis.worlds import rows, sequences_of


def _windows(row: list[int], m: int) -> list[tuple[int, ...]]:
    return [tuple(row[start : start + m]) for start in range(len(row) - m + 1)]


def _by_definition(row: list[int], m: int) -> float:
    def phi(size: int) -> float:
        windows = _windows(row, size)
        shares = [
            sum(max(abs(a - b) for a, b in zip(one, other, strict=True)) <= 0 for other in windows) for one in windows
        ]
        return sum(math.log(share / len(windows)) for share in shares) / len(windows)

    return phi(m) - phi(m + 1)


@given(found=rows(), m=st.integers(1, 3))
def test_approximate_entropy_is_that_of_its_definition(found: list[list[int]], m: int) -> None:
    expected = [_by_definition(row, m) for row in found if len(row) > m]
    assert approximate_entropy(sequences_of(found), m=m).tolist() == pytest.approx(expected, abs=1e-12)


@given(length=st.integers(2, 60), m=st.integers(1, 3))
def test_a_sequence_without_repeats_tells_its_length_and_nothing_else(length: int, m: int) -> None:
    row = list(range(1, m + length))
    found = approximate_entropy(sequences_of([row]), m=m)
    assert found == pytest.approx([math.log((len(row) - m) / (len(row) - m + 1))])
    assert found == pytest.approx(without_repeats([len(row)], m=m))
    assert sequence_entropy(sequences_of([row]), m=m).excess == pytest.approx(0.0, abs=1e-12)


@given(found=rows())
def test_only_what_repeats_has_an_excess(found: list[list[int]]) -> None:
    told = sequence_entropy(sequences_of(found))
    long = [row for row in found if len(row) > 2]
    repeats = [max(Counter(_windows(row, 2)).values()) > 1 for row in long]
    assert told.defined == len(long)
    assert told.repeating == pytest.approx(sum(repeats) / max(1, len(long)))
    if not any(repeats):
        assert told.excess == pytest.approx(0.0, abs=1e-12)


@given(found=rows(), m=st.integers(1, 3))
def test_the_corpus_value_is_the_entropy_of_an_item_given_those_before_it(found: list[list[int]], m: int) -> None:
    windows = [window for row in found for window in _windows(row, m + 1)]
    assert window_count(sequences_of(found), m=m) == len(windows)
    given_that = Counter(window[:m] for window in windows)
    expected = -sum(
        count / len(windows) * math.log(count / given_that[window[:m]]) for window, count in Counter(windows).items()
    )
    assert corpus_entropy(sequences_of(found), m=m) == pytest.approx(expected, abs=1e-12)


@given(found=rows(), count=st.integers(1, 30), order=st.randoms(use_true_random=False))
def test_the_windows_that_are_drawn_do_not_depend_on_the_order_of_the_sequences(
    found: list[list[int]], count: int, order: object
) -> None:
    sequences = sequences_of(found)
    places = np.arange(len(sequences))
    order.shuffle(places)
    drawn = corpus_entropy(sequences, windows=count, seed=3)
    assert corpus_entropy(sequences.select(places), windows=count, seed=3) == pytest.approx(drawn, abs=1e-12)


def test_fewer_windows_give_less_entropy_and_equally_many_of_one_source_about_as_much() -> None:
    draws = np.random.default_rng(0).integers(1, 40, (400, 12)).tolist()
    few, many = sequences_of(draws[:50]), sequences_of(draws)
    windows = window_count(few)
    assert corpus_entropy(many) > corpus_entropy(few) + 0.3
    assert corpus_entropy(many, windows=windows) == pytest.approx(corpus_entropy(few), abs=0.1)


def test_a_single_item_again_and_again_has_no_entropy_and_no_reciprocal() -> None:
    told = sequence_entropy(sequences_of([[7] * 9]))
    assert told.mean == pytest.approx(0.0, abs=1e-12)
    assert told.reciprocal is None


def test_no_sequence_is_long_enough_for_a_window() -> None:
    told = sequence_entropy(sequences_of([[1, 2], []]))
    assert (told.defined, told.mean, told.reciprocal) == (0, 0.0, None)
    assert corpus_entropy(sequences_of([[1, 2]])) == 0.0


def test_a_window_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="m=0"):
        approximate_entropy(sequences_of([[1, 2, 3]]), m=0)
