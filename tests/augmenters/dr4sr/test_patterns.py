"""Mining: which patterns count, and what it may not depend on."""

from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rsir_scale.augmenters.dr4sr import patterns
from rsir_scale.augmenters.dr4sr.options import Dr4srOptions
from rsir_scale.augmenters.dr4sr.patterns import holds_pattern, mine_pairs
from rsir_scale.data.sequences import Sequences
from tests.augmenters.dr4sr import plain
from tests.augmenters.rsir.worlds import sequences_of

IDENTITY = (7, 0)
markets = st.dictionaries(st.integers(0, 99), st.lists(st.integers(1, 6), max_size=9), min_size=1, max_size=8)


def found(sequences: Sequences, *, span: int = 5, support: int = 2, most: int = 10) -> dict[int, list[plain.Items]]:
    """Patterns by id of their sequence, in their order."""
    pairs = mine_pairs(sequences, span=span, support=support, most=most, identity=IDENTITY)
    rows: dict[int, list[plain.Items]] = {}
    for row, sequence_id in enumerate(pairs.ids.tolist()):
        rows.setdefault(sequence_id, []).append(tuple(pairs.row(row).tolist()))
    return rows


def market(rows: Mapping[int, list[int]]) -> Sequences:
    return sequences_of(list(rows.values()), list(rows))


def test_a_pattern_may_leave_items_out_but_not_pass_its_span() -> None:
    sequences = sequences_of([[1, 8, 2, 9, 3], [1, 2, 7, 7, 7, 3]])
    assert found(sequences, span=3) == {0: [(1, 2)], 1: [(1, 2)]}
    assert set(found(sequences, span=6)[0]) == {(1, 2), (1, 3), (2, 3), (1, 2, 3)}


def test_a_sequence_that_holds_a_pattern_twice_supports_it_once() -> None:
    assert found(sequences_of([[1, 2, 1, 2], [3, 4]])) == {}


def test_an_item_that_follows_itself_is_a_pattern() -> None:
    assert found(sequences_of([[1, 1], [1, 1, 5]])) == {0: [(1, 1)], 1: [(1, 1)]}


@given(markets, st.integers(2, 5), st.integers(1, 3), st.integers(1, 4))
def test_pairs_are_those_of_the_plain_reference(rows: dict[int, list[int]], span: int, support: int, most: int) -> None:
    options = Dr4srOptions(span=span, support=support, patterns=most)
    expected = plain.mined(rows, options, IDENTITY)
    wanted = {sequence_id: expected[sequence_id] for sequence_id in sorted(rows) if expected[sequence_id]}
    got = found(market(rows), span=span, support=support, most=most)
    assert list(got.items()) == list(wanted.items())


@settings(max_examples=30)
@given(markets, st.randoms(use_true_random=False))
def test_neither_order_nor_how_many_first_items_go_together_matters(rows: dict[int, list[int]], random: object) -> None:
    sequences = market(rows)
    whole = found(sequences)
    order = list(range(len(sequences)))
    random.shuffle(order)  # type: ignore[attr-defined]
    assert found(sequences.select(order)) == whole
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(patterns, "_POSITIONS", 1)
        assert found(sequences) == whole


@given(markets)
def test_whether_there_is_a_pattern_is_known_without_mining_all(rows: dict[int, list[int]]) -> None:
    assert holds_pattern(market(rows), 3, 2) == bool(found(market(rows), span=3))


def test_which_patterns_a_sequence_is_given_depends_on_its_id_and_the_seed() -> None:
    rows = [list(range(1, 9))] * 2
    chosen = found(sequences_of(rows), most=3)
    assert chosen[0] != chosen[1]
    other = mine_pairs(sequences_of(rows), span=5, support=2, most=3, identity=(8, 0))
    assert [tuple(other.row(row)) for row in range(3)] != chosen[0]


def test_no_sequences_hold_no_pattern() -> None:
    assert len(mine_pairs(sequences_of([]), span=5, support=1, most=2, identity=IDENTITY)) == 0
    assert np.array_equal(mine_pairs(sequences_of([[], [3]]), span=5, support=1, most=2, identity=IDENTITY).ids, [])
