"""Rows as a part holds them, and what is told of two tables that differ."""

import numpy as np
import pyarrow as pa

from rsir_scale.augmenters.part import differences, part_table
from rsir_scale.augmenters.written import Written
from rsir_scale.data.schema import ITEMS, SEQUENCE_ID
from rsir_scale.data.sequences import from_arrow
from rsir_scale.randomness import content_hashes
from rsir_scale.runs.columns import with_evidence
from tests.augmenters.contract import with_column
from tests.augmenters.rsir.worlds import sequences_of

SOURCES = sequences_of([[1, 2], [3], [4, 5, 6]], [70, 80, 90])
EVIDENCE = pa.schema([("why", pa.string()), ("score", pa.float64())])
WRITTEN = Written(
    source=np.array([0, 2, 2]),
    trial=np.array([1, 0, 1]),
    offsets=np.array([0, 2, 5, 7]),
    items=np.array([2, 1, 4, 6, 5, 7, 8], dtype=np.int32),
    evidence={"score": pa.array([0.5, 0.25, 0.125]), "why": pa.array(["a", "b", "c"])},
)
PLACES = np.array([3, 5, 9])


def table(written: Written = WRITTEN) -> pa.Table:
    return part_table(written, SOURCES, PLACES, first_id=100, iteration=4, trials=2, evidence=EVIDENCE)


def test_a_part_has_the_columns_of_a_part_and_then_the_evidence_whatever_order_it_came_in() -> None:
    found = table()
    assert found.schema == with_evidence(EVIDENCE)
    assert found.select(["why", "score"]).to_pydict() == {"why": ["a", "b", "c"], "score": [0.5, 0.25, 0.125]}


def test_ids_follow_the_place_in_the_plan_and_rows_name_their_source() -> None:
    found = table()
    assert found.column(SEQUENCE_ID).to_pylist() == [100 + 3 * 2 + 1, 100 + 9 * 2, 100 + 9 * 2 + 1]
    assert found.column("source_sequence_id").to_pylist() == [70, 90, 90]
    assert found.column("trial").to_pylist() == [1, 0, 1]
    assert set(found.column("iteration").to_pylist()) == {4}


def test_items_come_back_with_their_hashes() -> None:
    found = table()
    sequences = from_arrow(found)
    assert [sequences.row(row).tolist() for row in range(3)] == [[2, 1], [4, 6, 5], [7, 8]]
    hashes = [value.tobytes() for value in content_hashes(sequences.offsets, sequences.items)]
    assert found.column("content_hash").to_pylist() == hashes


def test_what_is_not_said_of_a_row_is_that_all_of_it_is_new_and_all_of_it_a_target() -> None:
    found = table()
    assert found.column("start_length").to_pylist() == [0, 0, 0]
    assert found.column("first_target").to_pylist() == [1, 1, 1]


def test_a_table_does_not_differ_from_itself() -> None:
    assert list(differences(table(), table())) == []


def test_a_difference_names_the_row_and_the_first_column() -> None:
    found = list(differences(with_column(table(), "start_length", 1), table()))
    assert [(fault.row, fault.what.split()[0]) for fault in found] == [(row, "start_length") for row in (107, 118, 119)]
    items = WRITTEN.items.copy()
    items[3] = 9
    other = table(Written(WRITTEN.source, WRITTEN.trial, WRITTEN.offsets, items, evidence=WRITTEN.evidence))
    assert [(fault.row, fault.what.split()[0]) for fault in differences(other, table())] == [(118, ITEMS)]


def test_rows_that_are_missing_and_rows_too_many_are_told_apart() -> None:
    whole = table()
    assert [(fault.row, fault.what) for fault in differences(whole.slice(1), whole)] == [
        (107, "its source writes this row, and it is not stored")
    ]
    assert [(fault.row, fault.what) for fault in differences(whole, whole.slice(1))] == [
        (107, "no source writes this row")
    ]


def test_a_row_that_is_stored_twice_or_out_of_order_is_found() -> None:
    whole = table()
    twice = pa.concat_tables([whole, whole.slice(2)]).combine_chunks()
    assert [fault.row for fault in differences(twice, whole)] == [119]
    assert [fault.row for fault in differences(whole.take([1, 0, 2]), whole)] == [107]
