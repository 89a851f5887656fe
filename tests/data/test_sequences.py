import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from rsir_scale.data.sequences import Sequences, concatenate, empty, from_arrow, offsets_of, to_list_array

rows_of_items = st.lists(st.lists(st.integers(1, 2**31 - 1), max_size=6), max_size=12)


def build(rows: list[list[int]], first_id: int = 0) -> Sequences:
    items = np.array([item for row in rows for item in row], dtype=np.int32)
    return Sequences(np.arange(first_id, first_id + len(rows)), offsets_of([len(row) for row in rows]), items)


def as_lists(sequences: Sequences) -> list[tuple[int, list[int]]]:
    return [(int(sequences.ids[i]), sequences.row(i).tolist()) for i in range(len(sequences))]


@given(rows_of_items, st.data())
def test_select_gives_the_rows_asked_for_in_that_order(rows: list[list[int]], data: st.DataObject) -> None:
    chosen = data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=20)) if rows else []
    selected = build(rows, 100).select(np.array(chosen, dtype=np.int64))
    assert as_lists(selected) == [(100 + row, rows[row]) for row in chosen]
    assert (selected.ids.dtype, selected.offsets.dtype, selected.items.dtype) == (np.int64, np.int64, np.int32)


@given(st.lists(rows_of_items, max_size=4))
def test_concatenate_puts_groups_one_after_another(groups: list[list[list[int]]]) -> None:
    joined = concatenate([build(rows) for rows in groups])
    assert as_lists(joined) == [pair for rows in groups for pair in as_lists(build(rows))]
    assert len(joined.offsets) == len(joined) + 1


@given(rows_of_items, st.integers(1, 5), st.data())
def test_arrow_columns_are_read_whatever_their_chunks_and_slices(
    rows: list[list[int]], chunk: int, data: st.DataObject
) -> None:
    whole = build(rows, 7)
    pieces = [whole.select(np.arange(start, min(start + chunk, len(rows)))) for start in range(0, len(rows), chunk)]
    schema = pa.schema([("sequence_id", pa.int64()), ("items", pa.list_(pa.int32()))])
    tables = [pa.table([pa.array(p.ids), to_list_array(p.offsets, p.items)], schema=schema) for p in pieces]
    table = pa.concat_tables([schema.empty_table(), *tables])
    first = data.draw(st.integers(0, len(rows)))
    assert as_lists(from_arrow(table.slice(first))) == as_lists(whole)[first:]


def test_no_sequences_are_still_sequences() -> None:
    assert len(empty()) == 0
    assert as_lists(concatenate([])) == as_lists(empty()) == []
    assert len(empty().select([])) == 0
