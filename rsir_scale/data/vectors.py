"""What a user knows of items beside who had them: one vector for each, by the log's own item ids.

Comes in: a Parquet file with columns `item_id` (text or integer) and `vector` (lists of numbers, all of one length).
Goes out: a matrix in the order of item_index. The file may hold more items than the dataset, in any order.
"""

import hashlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from rsir_scale.data.columns_check import PARQUET_ERRORS
from rsir_scale.data.schema import ITEM_ID
from rsir_scale.errors import InputError

VECTOR = "vector"
_LARGEST = 1e15  # sums of squares stay finite in single precision


def read_item_vectors(path: str | Path, item_ids: npt.NDArray[np.object_]) -> npt.NDArray[np.float32]:
    """Return the vectors `[V, d]` of a dataset's items.

    Args:
        path: the file.
        item_ids: the log's ids, of item_index 1 first.

    Raises:
        InputError: the file is missing or has other columns, an item of the dataset has no vector or two, vectors
            differ in length, or a number is not finite.
    """
    found = _columns(path)
    file_ids = found.column(ITEM_ID).cast(pa.string()).combine_chunks()
    place_V = pc.index_in(pa.array(item_ids.tolist(), pa.string()), value_set=file_ids)
    if place_V.null_count:
        first = item_ids[int(np.flatnonzero(pc.is_null(place_V).to_numpy(zero_copy_only=False))[0])]
        raise InputError(
            f"{path} has no vector for {place_V.null_count} of {len(item_ids)} items of the dataset, first item_id "
            f"{first!r}: give every item one (zeros, if nothing is known of it)"
        )
    if len(pc.unique(file_ids)) < len(file_ids):
        raise InputError(f"{path} names an item_id more than once: give every item one vector")
    return _matrix(path, found.column(VECTOR).combine_chunks().take(place_V), item_ids)


def sha256_of_vectors(path: str | Path) -> str:
    """What tells a file of vectors from another one: the SHA-256 of its bytes, in hex. Raises InputError."""
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"model.item_vectors={path} cannot be read ({error}): name a file of vectors") from error


def _columns(path: str | Path) -> pa.Table:
    try:
        table = pq.read_table(path, columns=[ITEM_ID, VECTOR])
    except PARQUET_ERRORS as error:
        raise InputError(
            f"model.item_vectors={path} cannot be read as Parquet with columns {ITEM_ID!r} and {VECTOR!r} ({error}): "
            "name such a file"
        ) from error
    kind = table.schema.field(VECTOR).type if VECTOR in table.column_names else None
    lists = kind is not None and (pa.types.is_list(kind) or pa.types.is_large_list(kind) or _is_fixed(kind))
    if ITEM_ID not in table.column_names or not lists:
        raise InputError(
            f"{path} has columns {', '.join(table.schema.names) or 'none'} of those wanted, {VECTOR!r} as {kind}: "
            f"write {ITEM_ID!r} and {VECTOR!r}, a list of numbers"
        )
    return table


def _is_fixed(kind: pa.DataType) -> bool:
    return bool(pa.types.is_fixed_size_list(kind))


def _matrix(path: str | Path, vectors: pa.Array, item_ids: npt.NDArray[np.object_]) -> npt.NDArray[np.float32]:
    length_V = pc.list_value_length(vectors).fill_null(0).to_numpy(zero_copy_only=False)
    width = int(length_V[0])
    if width == 0 or (length_V != width).any():
        odd = int(np.flatnonzero((length_V != width) | (length_V == 0))[0])
        raise InputError(
            f"{path}: the vector of item_id {item_ids[odd]!r} has {length_V[odd]} numbers, that of {item_ids[0]!r} "
            f"{width}: give all items vectors of one length"
        )
    numbers = pc.list_flatten(vectors).cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    matrix: npt.NDArray[np.float32] = numbers.astype(np.float32).reshape(len(length_V), width)
    wrong = np.flatnonzero(~(np.abs(matrix) <= _LARGEST).all(axis=1))
    if len(wrong):
        raise InputError(
            f"{path}: the vector of item_id {item_ids[wrong[0]]!r} holds NaN, no number, or one beyond {_LARGEST:g}, "
            f"as do those of {len(wrong) - 1} items more: write numbers within that"
        )
    return matrix
