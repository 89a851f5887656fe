"""Which of several rows with equal content stays: settled once, after all shards of an iteration are committed.

Comes in: the parts of an iteration and, if asked, the files of D_k. Goes out: the sequence_id of each row that is
dropped, and the file that lists them. Among rows of equal content hash the smallest (source_sequence_id, trial)
stays, whatever finished first. Parts are never rewritten. Rows are taken in buckets of the hash, one scan of a few
narrow columns each, so that memory is bounded by the bucket and not by the iteration.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from rsir_scale.config.settings import GenerationConfig
from rsir_scale.data.schema import CONTENT_HASH, SEQUENCE_ID
from rsir_scale.errors import IntegrityError, ResumableError
from rsir_scale.runs.columns import SOURCE_SEQUENCE_ID, TRIAL
from rsir_scale.runs.lineage import SequenceFile, located
from rsir_scale.runs.records import FileEntry, FileKind, write_entry
from rsir_scale.runs.run import Run
from rsir_scale.storage.base import Store, sha256_of

BUCKET_ROWS = 4_000_000
# New rows that do not count: such as repeat a sequence of D_k or another new row, another new row alone, or none.
Repeats = Literal["of_all", "of_new", "none"]
_MAX_BUCKETS = 1 << 16
_COLUMNS = [SEQUENCE_ID, SOURCE_SEQUENCE_ID, TRIAL, CONTENT_HASH]


def repeats_dropped(config: GenerationConfig) -> Repeats:
    """Which new rows are dropped: those that repeat a sequence of D_k only in the paper's reading.

    Source: Algorithm 1, "not duplicate" before D_k and D'_{k+1} are united; the authors' code compares new rows with
    each other only.
    """
    return "of_all" if config.reading == "paper" else "of_new"


def duplicate_ids(
    run: Run,
    *,
    iteration: int,
    parts: Sequence[FileEntry],
    existing: Sequence[SequenceFile] = (),
    bucket_rows: int = BUCKET_ROWS,
) -> npt.NDArray[np.int64]:
    """Find the duplicates among the rows of `parts`; nothing is written.

    Args:
        iteration: for messages.
        existing: files whose kept rows a new row must not repeat (those of D_k); empty: only among `parts`.
        bucket_rows: rows held in memory at once, about.

    Returns:
        Their sequence ids, ascending.

    Raises:
        IntegrityError: a file is not what its record says.
        ResumableError: the rows could not be compared, though every file is.
    """
    rows = sum(part.rows or 0 for part in parts) + sum(file.rows for file in existing)
    buckets = min(_MAX_BUCKETS, rows // bucket_rows + 1)
    new = [_scan(run.store, part.key, _COLUMNS) for part in parts if part.rows]
    old = _existing_hashes(run, existing)
    try:
        found = [
            _dropped(_in_bucket(new, bucket, buckets), _in_bucket(old, bucket, buckets)) for bucket in range(buckets)
        ]
    except (pl.exceptions.PolarsError, OSError) as error:
        _blame_a_file(run, parts, existing)
        raise ResumableError(
            f"iteration {iteration}: its rows could not be compared ({error}): mend the cause and run the same command "
            "again"
        ) from error
    return np.sort(np.concatenate(found))


def write_ids(store: Store, key: str, kind: FileKind, ids: npt.NDArray[np.int64]) -> FileEntry:
    """Write a list of sequence ids that do not count, ascending."""
    buffer = pa.BufferOutputStream()
    pq.write_table(pa.table({SEQUENCE_ID: ids}), buffer, compression="zstd")
    return write_entry(store, key, kind, buffer.getvalue().to_pybytes(), rows=len(ids))


def _blame_a_file(run: Run, parts: Sequence[FileEntry], existing: Sequence[SequenceFile]) -> None:
    """Raise IntegrityError for the first file that is not what its record says, if there is one."""
    files = [(run.store, part.key, part.sha256) for part in parts]
    for file in existing:
        files.append((*located(run, file), file.sha256))
        files.extend((run.store, omitted.key, omitted.sha256) for omitted in file.without)
    for where, key, expected in files:
        found, _ = sha256_of(where, key)
        if found != expected:
            raise IntegrityError(f"{where.root}/{key} has SHA-256 {found}, its record says {expected}: restore it")


def _existing_hashes(run: Run, files: Sequence[SequenceFile]) -> list[pl.LazyFrame]:
    frames = []
    for file in files:
        frame = _scan(*located(run, file), [SEQUENCE_ID, CONTENT_HASH])
        for omitted in file.without:
            frame = frame.join(_scan(run.store, omitted.key, [SEQUENCE_ID]), on=SEQUENCE_ID, how="anti")
        frames.append(frame.select(CONTENT_HASH))
    return frames


def _scan(store: Store, key: str, columns: list[str]) -> pl.LazyFrame:
    # Without glob=False a bracket or star in the user's path would be taken for a pattern.
    address, options = store.polars_address(key)
    return pl.scan_parquet(address, glob=False, storage_options=options).select(columns)


def _in_bucket(frames: Sequence[pl.LazyFrame], bucket: int, buckets: int) -> pl.DataFrame | None:
    """The rows whose hash falls into the bucket; None where there are none at all."""
    if not frames:
        return None
    leading = pl.col(CONTENT_HASH).bin.head(2).bin.reinterpret(dtype=pl.UInt16)
    return pl.concat(frames).filter(leading % buckets == bucket).collect(engine="streaming")


def _dropped(new: pl.DataFrame | None, existing: pl.DataFrame | None) -> npt.NDArray[np.int64]:
    if new is None:
        return np.empty(0, dtype=np.int64)
    drop = ~pl.col(CONTENT_HASH).is_first_distinct()
    if existing is not None:
        drop |= pl.col(CONTENT_HASH).is_in(existing.get_column(CONTENT_HASH).unique().implode())
    ranked = new.sort(SOURCE_SEQUENCE_ID, TRIAL, SEQUENCE_ID)
    ids: npt.NDArray[np.int64] = ranked.filter(drop).get_column(SEQUENCE_ID).to_numpy()
    return ids
