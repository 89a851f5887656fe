"""Rows become rectangles: the latest items, in order, padded on the right."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rsir_scale.data.sequences import Sequences, offsets_of
from rsir_scale.models.inputs import blocks_by_length, pad_latest, parts_by_length

ROWS = st.lists(st.lists(st.integers(1, 99), max_size=6), min_size=1, max_size=9)


@given(rows=ROWS, max_length=st.integers(1, 8), data=st.data())
def test_each_row_holds_its_latest_items_in_order(rows: list[list[int]], max_length: int, data: st.DataObject) -> None:
    items = np.array([item for row in rows for item in row], dtype=np.int32)
    sequences = Sequences(np.arange(len(rows)), offsets_of([len(row) for row in rows]), items)
    chosen = data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=12))
    expected = [rows[row][-max_length:] for row in chosen]
    width = max((len(row) for row in expected), default=0)
    padded = pad_latest(sequences, np.array(chosen, dtype=np.int64), max_length=max_length)
    assert padded.shape == (len(chosen), width)
    assert padded.tolist() == [row + [0] * (width - len(row)) for row in expected]


@given(lengths=st.lists(st.integers(0, 9), max_size=30), rows=st.integers(1, 7))
def test_blocks_hold_each_row_once_shortest_first(lengths: list[int], rows: int) -> None:
    blocks = blocks_by_length(np.array(lengths, dtype=np.int64), rows=rows)
    dealt = [int(row) for block in blocks for row in block]
    assert sorted(dealt) == list(range(len(lengths)))
    assert [lengths[row] for row in dealt] == sorted(lengths)
    assert all(len(block) <= rows for block in blocks)


@given(lengths=st.lists(st.integers(1, 200), min_size=1, max_size=30).map(sorted))
def test_parts_are_all_rows_in_order_and_pad_to_less_than_the_double(lengths: list[int]) -> None:
    parts = parts_by_length(np.array(lengths, dtype=np.int64))
    assert [length for part in parts for length in lengths[part.rows]] == lengths
    for part in parts:
        assert part.longest == max(lengths[part.rows])
        assert part.longest <= 4 or part.longest < 2 * min(lengths[part.rows])
    assert len({max((part.longest - 1).bit_length(), 2) for part in parts}) == len(parts)
