"""Reordering, insertion and the controls as whole arrays: the rows that plain Python writes one at a time."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rsir_scale.augmenters.controls import copied, slid, thinned
from rsir_scale.augmenters.insertion import inserted
from rsir_scale.augmenters.reordering import reordered
from rsir_scale.augmenters.trials import COPY, TOO_SHORT
from rsir_scale.augmenters.written import Written, check_written
from rsir_scale.data.sequences import Int64Array, Sequences
from tests.augmenters import plain
from tests.augmenters.rsir.worlds import sequences_of

ITEMS = 12
KNOWN = np.arange(1, ITEMS + 1)
NO_EVIDENCE = pa.schema([])
identities = st.tuples(st.integers(0, 2**40), st.integers(0, 5))
percents = st.sampled_from([1, 7, 20, 40, 50, 70, 100])
few = settings(max_examples=60)


@st.composite
def sources(draw: st.DrawFn) -> Sequences:
    """Up to 6 sequences of 0..14 items, with repeats and with any ids."""
    rows = draw(st.lists(st.lists(st.integers(1, ITEMS), max_size=14), max_size=6))
    ids = draw(st.lists(st.integers(0, 2**40), min_size=len(rows), max_size=len(rows), unique=True))
    return sequences_of(rows, ids)


def keeps_the_contract(written: Written, given_sources: Sequences, trials: int) -> bool:
    check_written(written, given_sources, trials=trials, item_count=ITEMS, known_V=None, evidence=NO_EVIDENCE)
    return True


@few
@given(found=sources(), trials=st.integers(1, 4), identity=identities, percent=percents)
def test_reordering_equals_plain_python(found: Sequences, trials: int, identity: tuple[int, int], percent: int) -> None:
    written = reordered(found, trials=trials, rate=percent / 100, identity=identity)
    expected = plain.rows_by(
        lambda items, _, draw: plain.reorder(items, draw, percent=percent), found, trials=trials, identity=identity
    )
    assert plain.rows_of(written) == expected
    assert keeps_the_contract(written, found, trials)


@few
@given(
    found=sources(),
    trials=st.integers(1, 4),
    identity=identities,
    percent=percents,
    longest=st.integers(2, 30),
    numbers=st.integers(0, 2**32 - 1),
)
def test_insertion_equals_plain_python(
    found: Sequences, trials: int, identity: tuple[int, int], percent: int, longest: int, numbers: int
) -> None:
    neighbour_V = np.random.default_rng(numbers).integers(0, ITEMS + 1, ITEMS + 1)
    written = inserted(
        found,
        trials=trials,
        rate=percent / 100,
        neighbour_V=neighbour_V,
        known_K=KNOWN,
        longest=longest,
        identity=identity,
    )
    expected = plain.rows_by(
        lambda items, _, draw: plain.insert(
            items,
            draw,
            percent=percent,
            neighbours=dict(enumerate(neighbour_V.tolist())),
            known=KNOWN.tolist(),
            longest=longest,
        ),
        found,
        trials=trials,
        identity=identity,
    )
    assert plain.rows_of(written) == expected
    assert keeps_the_contract(written, found, trials)


@few
@given(found=sources(), trials=st.integers(1, 4), identity=identities)
def test_thinned_equals_plain_python(found: Sequences, trials: int, identity: tuple[int, int]) -> None:
    written = thinned(found, trials=trials, identity=identity)
    expected = plain.rows_by(
        lambda items, _, draw: plain.thin(items, draw), found, trials=trials, identity=identity, keep_copies=True
    )
    assert plain.rows_of(written) == expected
    assert keeps_the_contract(written, found, trials)


@few
@given(found=sources(), trials=st.integers(1, 5), window=st.integers(2, 16), stride=st.integers(1, 6))
def test_slide_window_equals_plain_python(found: Sequences, trials: int, window: int, stride: int) -> None:
    written = slid(found, trials=trials, window=window, stride=stride)
    expected = plain.rows_by(
        lambda items, trial, _: plain.slide(items, trial, window=window, stride=stride),
        found,
        trials=trials,
        identity=(0, 0),
    )
    assert plain.rows_of(written) == expected
    assert keeps_the_contract(written, found, trials)


@few
@given(found=sources(), trials=st.integers(1, 4))
def test_copies_are_all_sequences_with_something_to_predict(found: Sequences, trials: int) -> None:
    written = copied(found, trials=trials)
    expected = plain.rows_by(lambda items, *_: items, found, trials=trials, identity=(0, 0), keep_copies=True)
    assert plain.rows_of(written) == expected
    assert keeps_the_contract(written, found, trials)


def test_a_reordered_source_of_one_item_leaves_no_row() -> None:
    written = reordered(sequences_of([[5], []]), trials=3, rate=1.0, identity=(1, 0))
    assert (len(written), written.stops) == (0, {TOO_SHORT: 6, COPY: 0})


def test_half_of_the_reordered_pairs_stand_as_they_stood() -> None:
    written = reordered(sequences_of([[1, 2]]), trials=1000, rate=0.2, identity=(1, 0))
    assert written.items.reshape(-1, 2).tolist() == [[2, 1]] * len(written)
    assert written.stops[TOO_SHORT] == 0
    assert written.stops[COPY] == 1000 - len(written) == pytest.approx(500, abs=60)


def test_the_window_of_a_reordered_source_stands_anywhere_and_is_as_long_as_its_share() -> None:
    count, rate, window = 10, 0.3, 3
    written = reordered(sequences_of([list(range(1, count + 1))]), trials=2000, rate=rate, identity=(3, 1))
    moved = written.items.reshape(-1, count) != np.arange(1, count + 1)
    first, last = moved.argmax(1), count - 1 - moved[:, ::-1].argmax(1)
    assert (last - first).max() == window - 1
    assert set(first[last - first == window - 1]) == set(range(count - window + 1))


def test_shares_that_binary_fractions_only_come_near_count_as_they_are_written() -> None:
    # .07 times 100 is a little more than 7, and .7 times 90 a little less than 63.
    written = reordered(sequences_of([list(range(1, 101))]), trials=300, rate=0.07, identity=(3, 1))
    moved = written.items.reshape(-1, 100) != np.arange(1, 101)
    assert (100 - moved[:, ::-1].argmax(1) - moved.argmax(1)).max() == 7
    written = inserted_into([[1] * 90], np.array([0, 2]), trials=1, rate=0.7, longest=200)
    assert len(written.items) == 90 + 63


def test_an_inserted_item_stands_before_the_one_it_resembles() -> None:
    neighbour_V = np.array([0, 11, 12, 10])
    written = inserted_into([[1, 2, 3]], neighbour_V, trials=200, rate=0.4)
    pairs = {(11, 1), (12, 2), (10, 3)}
    rows = written.items.reshape(-1, 4).tolist()
    found = Counter(next(pair for pair in pairwise(row) if pair[0] > 3) for row in rows)
    assert found.keys() == pairs
    assert max(found.values()) < 100


def test_a_source_of_one_item_gets_one_before_it() -> None:
    assert plain.rows_of(inserted_into([[2]], np.array([0, 0, 7]), trials=1, rate=0.4)) == [(0, 0, 0, [7, 2])]


def test_items_without_a_neighbour_get_any_item_of_the_known_ones() -> None:
    written = inserted_into([[1]], np.zeros(2, np.int64), trials=300, rate=1.0, known=np.array([4, 6, 9]))
    found = Counter(written.items[::2].tolist())
    assert found.keys() == {4, 6, 9}
    assert min(found.values()) > 60
    assert written.counters == {"inserted_items": 300, "items_at_random": 300}


def test_a_long_row_keeps_its_latest_items() -> None:
    written = inserted_into([[1, 2, 3]], np.array([0, 7, 8, 9]), trials=1, rate=1.0, longest=4)
    assert written.items.tolist() == [8, 2, 9, 3]


def inserted_into(
    rows: list[list[int]],
    neighbour_V: Int64Array,
    *,
    trials: int,
    rate: float,
    longest: int = 50,
    known: Int64Array = KNOWN,
) -> Written:
    return inserted(
        sequences_of(rows),
        trials=trials,
        rate=rate,
        neighbour_V=neighbour_V,
        known_K=known,
        longest=longest,
        identity=(5, 2),
    )


def test_a_thinned_sequence_loses_a_quarter_of_its_items_on_average_and_half_at_most_of_its_chances() -> None:
    count = 400
    written = thinned(sequences_of([[1 + item % ITEMS for item in range(count)]]), trials=200, identity=(7, 0))
    left_out = 1 - written.lengths / count
    assert left_out.mean() == pytest.approx(0.25, abs=0.03)
    assert left_out.max() < 0.6
    assert left_out.min() < 0.02


def test_windows_are_all_prefixes_of_a_short_source_and_end_ever_earlier() -> None:
    written = slid(sequences_of([[1, 2, 3, 4]]), trials=5, window=50, stride=1)
    assert [items for *_, items in plain.rows_of(written)] == [[1, 2, 3], [1, 2]]
    assert written.stops == {TOO_SHORT: 3, COPY: 0}


def test_windows_of_a_long_source_begin_with_its_latest_items() -> None:
    written = slid(sequences_of([[1, 2, 3, 4, 5, 6]]), trials=2, window=3, stride=2)
    assert [items for *_, items in plain.rows_of(written)] == [[4, 5, 6], [2, 3, 4]]
