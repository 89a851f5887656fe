"""Many sequences in memory as three NumPy arrays: ids, offsets and items; never a list of lists.

Row i is `items[offsets[i]:offsets[i + 1]]`, oldest first. Everything that reads or writes many sequences passes this.
It knows Arrow columns but no files: those are the business of `dataset`.
"""

import operator
from collections.abc import Sequence as Rows
from dataclasses import dataclass
from typing import Any, SupportsIndex

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from rsir_scale.data.schema import ITEMS, SEQUENCE_ID

Int64Array = npt.NDArray[np.int64]
Int32Array = npt.NDArray[np.int32]
Float64Array = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Sequences:
    """N sequences of item indices.

    Attributes:
        ids: int64[N], the sequence ids.
        offsets: int64[N + 1], first 0, non-decreasing; positions into `items`.
        items: int32[offsets[-1]], item indices 1..V, sequence after sequence.
    """

    ids: Int64Array
    offsets: Int64Array
    items: Int32Array

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def lengths(self) -> Int64Array:
        """int64[N], items of each sequence."""
        return np.diff(self.offsets)

    def row(self, index: SupportsIndex) -> Int32Array:
        """The items of row `index` (0..N-1), a view."""
        row = operator.index(index)
        return self.items[self.offsets[row] : self.offsets[row + 1]]

    def select(self, rows: npt.ArrayLike) -> "Sequences":
        """Copy the rows at positions `rows` (integers 0..N-1, any order, repeats allowed)."""
        chosen = np.asarray(rows, dtype=np.int64)
        lengths = self.lengths[chosen]
        offsets = offsets_of(lengths)
        positions = np.arange(offsets[-1], dtype=np.int64) + np.repeat(
            self.offsets[:-1][chosen] - offsets[:-1], lengths
        )
        return Sequences(self.ids[chosen], offsets, self.items[positions])


def offsets_of(lengths: npt.ArrayLike) -> Int64Array:
    """Turn N lengths into N + 1 offsets."""
    values = np.asarray(lengths, dtype=np.int64)
    offsets = np.zeros(len(values) + 1, dtype=np.int64)
    np.cumsum(values, out=offsets[1:])
    return offsets


def empty() -> Sequences:
    """No sequences at all."""
    return Sequences(np.empty(0, np.int64), np.zeros(1, np.int64), np.empty(0, np.int32))


def concatenate(groups: Rows[Sequences]) -> Sequences:
    """Put groups of sequences one after another, in the order given."""
    if not groups:
        return empty()
    return Sequences(
        np.concatenate([group.ids for group in groups]),
        offsets_of(np.concatenate([group.lengths for group in groups])),
        np.concatenate([group.items for group in groups]),
    )


def from_arrow(table: pa.Table) -> Sequences:
    """Read the columns `sequence_id` (integer) and `items` (list of int32) of a table."""
    lengths, items = flatten_lists(table.column(ITEMS))
    ids = numbers_of(table.column(SEQUENCE_ID)).astype(np.int64, copy=False)
    return Sequences(ids, offsets_of(lengths), items.astype(np.int32, copy=False))


def flatten_lists(column: pa.ChunkedArray) -> tuple[Int64Array, npt.NDArray[Any]]:
    """Split a list column into the length of each row and all its values, one after another."""
    if column.num_chunks == 0:
        return np.empty(0, np.int64), np.empty(0, column.type.value_type.to_pandas_dtype())
    lengths = [np.diff(_array(chunk.offsets)).astype(np.int64) for chunk in column.chunks]
    values = [_array(chunk.flatten()) for chunk in column.chunks]
    return np.concatenate(lengths), np.concatenate(values)


def numbers_of(column: pa.ChunkedArray) -> npt.NDArray[Any]:
    """The numbers of a column; what Arrow itself does for that loads pandas, which takes half a second."""
    if column.num_chunks == 0:
        return np.empty(0, column.type.to_pandas_dtype())
    chunks = [_array(chunk) for chunk in column.chunks]
    return chunks[0] if len(chunks) == 1 else np.concatenate(chunks)


def _array(values: pa.Array) -> npt.NDArray[Any]:
    if values.null_count or pa.types.is_boolean(values.type):
        return np.asarray(values.to_numpy(zero_copy_only=False))
    return np.from_dlpack(values)


def to_list_array(offsets: Int64Array, values: npt.NDArray[Any]) -> pa.ListArray:
    """Build an Arrow list column; the inverse of `flatten_lists`. At most 2^31 - 1 values go into one array."""
    return pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), pa.array(values))
