"""Rows as a part of a run holds them: an Arrow table of what an augmenter wrote, and the comparison of two such tables.

Comes in: `Written` rows, their sources and their places in the shard plan. Goes out: the table; or, where a stored
table is compared with the same rows written again, the rows that differ.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from rsir_scale.augmenters.written import Written
from rsir_scale.data.schema import SEQUENCE_ID
from rsir_scale.data.sequences import Int64Array, Sequences, to_list_array
from rsir_scale.randomness import content_hashes
from rsir_scale.runs.columns import SOURCE_SEQUENCE_ID, with_evidence


@dataclass(frozen=True)
class RowFault:
    """What is wrong with a stored row; `row` is its sequence_id, None for a table that cannot be read as rows."""

    row: int | None
    what: str


@dataclass(frozen=True)
class Rechecked:
    """What a check of a stored part found.

    Attributes:
        faults: of any row.
        again: how many stored rows were made again, each of them written or scored a second time.
    """

    faults: tuple[RowFault, ...]
    again: int


@dataclass(frozen=True, eq=False)
class Part:
    """A stored part, and all that it was made from.

    Attributes:
        table: its rows.
        sources: the shard's sources, in the order of the plan.
        first_id: the sequence_id that trial 0 of the first source would have.
        set_aside: sequence ids of sources that were set aside, which have no rows.
        chosen: bool[R], the rows to be made again, whose sources are written or scored again.
    """

    table: pa.Table
    sources: Sequences
    first_id: int
    set_aside: Int64Array
    chosen: npt.NDArray[np.bool_]


def part_table(
    written: Written,
    sources: Sequences,
    positions: Int64Array,
    *,
    first_id: int,
    iteration: int,
    trials: int,
    evidence: pa.Schema,
) -> pa.Table:
    """Build the rows of a part, in the order of `written`.

    Args:
        written: rows that keep the contract.
        sources: what they were written from.
        positions: int64, each source's position in the shard plan.
        first_id: the plan's first sequence id.
        iteration: of the model that wrote them.
        trials: m.
        evidence: the columns that the augmenter declares.
    """
    rows = len(written)
    start = np.zeros(rows, dtype=np.int32) if written.start_length is None else written.start_length
    first = np.ones(rows, dtype=np.int32) if written.first_target is None else written.first_target
    hashes = content_hashes(written.offsets, written.items)
    columns = [
        pa.array(first_id + positions[written.source] * trials + written.trial),
        to_list_array(written.offsets, written.items),
        pa.array(np.full(rows, iteration, dtype=np.int32)),
        pa.array(sources.ids[written.source]),
        pa.array(written.trial.astype(np.int32)),
        pa.array(start.astype(np.int32)),
        pa.array(first.astype(np.int32)),
        pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), rows, [None, pa.py_buffer(hashes)]),
        *(written.evidence[name] for name in evidence.names),
    ]
    return pa.Table.from_arrays(columns, schema=with_evidence(evidence))


def of_no_source(part: Part) -> Iterator[RowFault]:
    """Rows that name a source which is not the shard's, or which was set aside and so has no rows."""
    ids = part.table.column(SEQUENCE_ID).to_numpy()
    source_of = part.table.column(SOURCE_SEQUENCE_ID).to_numpy()
    for row in ids[~np.isin(source_of, part.sources.ids)]:
        yield RowFault(int(row), "source_sequence_id is none of the shard's sources")
    for row in ids[np.isin(source_of, part.set_aside)]:
        yield RowFault(int(row), "its source was set aside and has no rows")


def differences(stored: pa.Table, expected: pa.Table) -> Iterator[RowFault]:
    """Rows that are stored otherwise than they are written again, by sequence_id; both tables have one schema."""
    if stored.equals(expected):
        return
    ids = stored.column(SEQUENCE_ID).to_numpy()
    for row in ids[1:][np.diff(ids) <= 0]:
        yield RowFault(int(row), "sequence_id does not rise from row to row")
    found, wanted = (
        dict(zip(table.column(SEQUENCE_ID).to_pylist(), table.to_pylist(), strict=True)) for table in (stored, expected)
    )
    for row in sorted(found.keys() | wanted.keys()):
        if row not in wanted:
            yield RowFault(row, "no source writes this row")
        elif row not in found:
            yield RowFault(row, "its source writes this row, and it is not stored")
        else:
            other = [name for name, value in wanted[row].items() if found[row][name] != value]
            if other:
                yield RowFault(row, f"{other[0]} is not what its source gives when it is written again")
