"""Where training data comes from: D_k as a list of files, and the sequences in them.

Comes in: a run, its dataset, an iteration k. Goes out: the dataset's training files, then for each earlier iteration
its committed parts by shard index, less the rows that were settled as duplicates and those that later rows replaced.
Nothing is copied and nothing is listed: an earlier iteration's manifest names its files. Held-out files are out of
reach from here.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from rsir_scale.data.columns_check import PARQUET_ERRORS, Bounds, fault_of
from rsir_scale.data.dataset import Sequences, concatenate, from_arrow
from rsir_scale.data.schema import ITEMS, SEQUENCE_ID, all_columns
from rsir_scale.data.sequences import Int64Array, numbers_of
from rsir_scale.errors import IntegrityError
from rsir_scale.runs.columns import FIRST_TARGET, PART_SCHEMA
from rsir_scale.runs.manifest import read_generation
from rsir_scale.runs.records import Count, FileEntry, FileKind, Record, Sha256
from rsir_scale.runs.run import Run
from rsir_scale.storage.base import Store

_COLUMNS = pa.schema({field.name: field.type for part in (all_columns(), PART_SCHEMA) for field in part}.items())


class Omitted(Record):
    """A file of sequence ids that do not count, ascending."""

    key: str
    sha256: Sha256


class SequenceFile(Record):
    """A Parquet file of sequences: of the dataset, or a part of the run. `rows` counts those of `without`, too."""

    where: Literal["dataset", "run"]
    key: str
    rows: Count
    sha256: Sha256
    without: tuple[Omitted, ...] = ()


class RowSlice(Protocol):
    """Consecutive rows of the file at index `file`."""

    @property
    def file(self) -> int: ...
    @property
    def first_row(self) -> int: ...
    @property
    def rows(self) -> int: ...


def training_files(run: Run, iteration: int) -> tuple[SequenceFile, ...]:
    """D_k: what theta_k trains on and generates from.

    Raises:
        IntegrityError: the manifest of an earlier iteration is missing or damaged.
    """
    files = [
        SequenceFile(where="dataset", key=file.path, rows=file.rows, sha256=file.sha256)
        for file in run.dataset.training_files()
    ]
    for earlier in range(iteration):
        entries = read_generation(run.store, earlier).files
        replaced = _omitted(entries, "replaced")
        files = [file.model_copy(update={"without": file.without + replaced}) for file in files]
        files.extend(part_files(entries))
    return tuple(files)


def stand_in_place(files: Sequence[SequenceFile]) -> bool:
    """Whether the run's rows of D_k stand in the place of users' sequences, so that none stands beside them."""
    return any(file.where == "dataset" and file.without for file in files)


def committed_files(store: Store, iteration: int) -> list[SequenceFile]:
    """The parts that an iteration's manifest names, by shard index. Raises IntegrityError."""
    return part_files(read_generation(store, iteration).files)


def part_files(entries: Sequence[FileEntry]) -> list[SequenceFile]:
    """The parts among an iteration's files, in their order, without the ids that were dropped as duplicates."""
    dropped = _omitted(entries, "dropped")
    return [
        SequenceFile(where="run", key=entry.key, rows=entry.rows or 0, sha256=entry.sha256, without=dropped)
        for entry in entries
        if entry.kind == "part"
    ]


def _omitted(entries: Sequence[FileEntry], kind: FileKind) -> tuple[Omitted, ...]:
    return tuple(Omitted(key=entry.key, sha256=entry.sha256) for entry in entries if entry.kind == kind)


def located(run: Run, file: SequenceFile) -> tuple[Store, str]:
    """Where a file lies, in the run or in its dataset as that was opened.

    A dataset that was prepared again, say into a bucket, holds the same files under other keys than a plan names.
    """
    if file.where == "run":
        return run.store, file.key
    here = (found.path for found in run.dataset.training_files() if found.sha256 == file.sha256)
    return run.dataset.store, next(here, file.key)


def load(run: Run, files: Sequence[SequenceFile]) -> Sequences:
    """All sequences of `files`, in the order of files and rows, dropped ones left out.

    Raises:
        IntegrityError: a file is missing, no Parquet, or does not hold the rows that its record says.
    """
    return concatenate(list(stream(run, files)))


def stream(run: Run, files: Sequence[SequenceFile]) -> Iterator[Sequences]:
    """What `load` loads, one file at a time."""
    omitted = read_omitted(run.store, files)
    for file in files:
        yield _filtered(_read(run, file, None), file, omitted)


def load_slices(run: Run, files: Sequence[SequenceFile], slices: Iterable[RowSlice]) -> Sequences:
    """The sequences of some slices of `files` (a shard's), in their order, dropped ones left out.

    Only the row groups that a slice touches are read. Raises IntegrityError as `load` does.
    """
    pieces = list(slices)
    omitted = read_omitted(run.store, [files[piece.file] for piece in pieces])
    return concatenate(
        [_filtered(_read(run, files[piece.file], piece), files[piece.file], omitted) for piece in pieces]
    )


def load_first_targets(run: Run, files: Sequence[SequenceFile]) -> Int64Array | None:
    """Position of the first item that training predicts, for each sequence that `load` loads, in the same order.

    Returns:
        int64[N]; None where it is 1, the second item, for all.
    """
    omitted = read_omitted(run.store, files)
    found: list[Int64Array] = []
    for file in files:
        where, key = located(run, file)
        columns = [SEQUENCE_ID, FIRST_TARGET] if file.where == "run" else [SEQUENCE_ID]
        table = read_columns(where, key, columns, expected=file.rows)
        kept = kept_ids(numbers_of(table.column(0)), file, omitted)
        first = numbers_of(table.column(1)) if file.where == "run" else np.ones(table.num_rows)
        found.append(first[kept].astype(np.int64))
    targets = np.concatenate(found)
    return None if (targets == 1).all() else targets


def read_columns(
    store: Store,
    key: str,
    columns: list[str],
    *,
    rows: tuple[int, int] | None = None,
    expected: int | None = None,
    bounds: Bounds = MappingProxyType({}),
) -> pa.Table:
    """Read columns of a Parquet object, or of its rows (first, count), touching no other row group.

    Raises:
        IntegrityError: missing, no Parquet, a column is missing, of another type or out of bounds, or its rows are not
            `expected` in number.
    """
    name = f"{store.root}/{key}"
    try:
        with store.open_read(key) as reader, pq.ParquetFile(reader) as file:
            _check(file, name, columns, expected)
            first, count = rows if rows is not None else (0, file.metadata.num_rows)
            groups, skipped = _groups(file.metadata, first, count)
            # Arrow's own threads that hold a Python file abort the interpreter now and then as it exits.
            table = file.read_row_groups(groups, columns=columns, use_threads=False).slice(first - skipped, count)
    except PARQUET_ERRORS as error:
        raise IntegrityError(f"{name} cannot be read as Parquet ({error}): restore it") from error
    fault = fault_of(table, _COLUMNS, bounds)
    if fault is not None:
        raise IntegrityError(f"{name}: {fault}: restore the file that was written there")
    return table


def _check(file: pq.ParquetFile, name: str, columns: list[str], expected: int | None) -> None:
    missing = [column for column in columns if column not in file.schema_arrow.names]
    if missing:
        raise IntegrityError(f"{name} has no column {missing[0]!r}: restore the file that was written there")
    if expected is not None and file.metadata.num_rows != expected:
        raise IntegrityError(f"{name} holds {file.metadata.num_rows} rows, its record says {expected}: restore it")


def _groups(metadata: Any, first: int, count: int) -> tuple[list[int], int]:
    """Row groups that hold rows first..first+count-1, and the rows before the first of them."""
    ends = np.cumsum([metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)], dtype=np.int64)
    begin = int(np.searchsorted(ends, first, side="right"))
    end = int(np.searchsorted(ends, first + count, side="left")) + 1 if count else begin
    return list(range(begin, min(end, len(ends)))), int(ends[begin - 1]) if begin else 0


def _read(run: Run, file: SequenceFile, piece: RowSlice | None) -> Sequences:
    rows = None if piece is None else (piece.first_row, piece.rows)
    where, key = located(run, file)
    bounds = run.dataset.bounds if file.where == "dataset" else {ITEMS: run.dataset.bounds[ITEMS]}
    return from_arrow(read_columns(where, key, [SEQUENCE_ID, ITEMS], rows=rows, expected=file.rows, bounds=bounds))


def read_ids(store: Store, key: str) -> Int64Array:
    """Sequence ids that do not count, ascending. Raises IntegrityError."""
    ids: Int64Array = numbers_of(read_columns(store, key, [SEQUENCE_ID]).column(0))
    return ids


def read_omitted(store: Store, files: Iterable[SequenceFile]) -> dict[str, Int64Array]:
    """What the `without` of some files name, by key. Raises IntegrityError."""
    return {key: read_ids(store, key) for key in {omitted.key for file in files for omitted in file.without}}


def kept_ids(ids: Int64Array, file: SequenceFile, omitted: Mapping[str, Int64Array]) -> npt.NDArray[np.bool_]:
    """Which rows of a file count, by their sequence ids."""
    kept = np.ones(len(ids), dtype=np.bool_)
    for each in file.without if len(ids) else ():
        # Of a long list, only the ids near this file's own need a look.
        gone = omitted[each.key]
        first, last = np.searchsorted(gone, [ids.min(), ids.max() + 1])
        kept &= ~np.isin(ids, gone[first:last])
    return kept


def _filtered(sequences: Sequences, file: SequenceFile, omitted: Mapping[str, Int64Array]) -> Sequences:
    kept = kept_ids(sequences.ids, file, omitted)
    return sequences if kept.all() else sequences.select(np.flatnonzero(kept))
