import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rsir_scale.data.sequences import Sequences, offsets_of
from rsir_scale.data.split import hold_out_last, keep_last, put_back
from rsir_scale.data.statistics import repeats

sequence_lists = st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=8), min_size=1, max_size=8)


def build(rows: list[list[int]]) -> Sequences:
    items = np.array([item for row in rows for item in row], dtype=np.int32)
    return Sequences(np.arange(len(rows)), offsets_of([len(row) for row in rows]), items)


@given(sequence_lists)
def test_training_and_held_out_make_up_the_whole_and_nothing_leaks(rows: list[list[int]]) -> None:
    whole = build(rows)
    split = hold_out_last(whole)
    for i, row in enumerate(rows):
        held_out = [int(split.validation[i]), int(split.test[i])] if len(row) >= 3 else []
        assert split.training.row(i).tolist() + held_out == row
        if len(row) < 3:
            assert split.validation[i] == split.test[i] == 0
    again = put_back(split.training, split.validation, split.test)
    assert [again.row(i).tolist() for i in range(len(rows))] == rows
    assert whole.items[split.in_training].tolist() == split.training.items.tolist()


@given(sequence_lists, st.integers(1, 9))
def test_truncation_keeps_the_last_items(rows: list[list[int]], count: int) -> None:
    whole = build(rows)
    cut, kept = keep_last(whole, count)
    assert [cut.row(i).tolist() for i in range(len(rows))] == [row[-count:] for row in rows]
    assert whole.items[kept].tolist() == cut.items.tolist()


@given(sequence_lists)
def test_a_repeat_is_an_item_that_its_own_sequence_had_before(rows: list[list[int]]) -> None:
    assert repeats(build(rows)) == sum(len(row) - len(set(row)) for row in rows)
