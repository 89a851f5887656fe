"""Write, then commit: how the rows of a shard come to count, exactly once.

Comes in: a table of rows and its counters. Goes out: a part under an attempt's own name and, after it, a commit
record that is created only if absent. Whatever is killed in between, a shard is either wholly committed or not at all;
when two attempts finish the same shard, the first commit wins and the other's part is an orphan that no reader meets. A
shard that kept nothing commits an empty part.

Counters of a record (all are sums over the shard's trials):
    sources, trials, steps, accepted_steps, rows_kept,
    pairs                                                 pairs: length - 1 of each kept row, before duplicates
    stop_<reason>                                         trials that left no row, by the reason (`copy`: they put down
                                                          their whole source over again); with `errors` and
    errors                                                rows_kept they add up to trials
    chosen_own, accepted_own, chosen_other, …_true        steps by what was chosen, and how many of them passed
    novel_steps                                           accepted steps whose item is not in the source
    own_only_rows, subsequence_rows                       kept rows of the source's items only; in their order
"""

from collections.abc import Iterable, Mapping

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from rsir_scale.errors import IntegrityError
from rsir_scale.runs import layout
from rsir_scale.runs.plan import Shard, ShardPlan
from rsir_scale.runs.records import Count, FileEntry, FileKind, Record, write_entry
from rsir_scale.storage.base import AlreadyExistsError, Store

ROW_GROUP_ROWS = 8192
STOP_PREFIX = "stop_"


class CommitRecord(Record):
    """One shard's part, and what happened on the way."""

    iteration: Count
    shard: Count
    attempt: str
    part: FileEntry
    errors: FileEntry | None = None
    counts: dict[str, Count]
    encoder: str = Field(default="", description="what encoded the contexts, such as tree/avx2")
    search: str = Field(default="", description="what scanned the items, such as exact/avx2")
    processor: str = Field(default="", description="what it was computed on: see runs.processor")
    seconds: float


def write_part(store: Store, *, iteration: int, shard: int, attempt: str, table: pa.Table) -> FileEntry:
    """Write a shard's rows as Parquet under the attempt's own name; nothing counts yet.

    Raises:
        StorageFullError: the disk is full; the part is gone again.
        AlreadyExistsError: the attempt's name was used before.
    """
    return _write_table(store, layout.part(iteration, shard, attempt), "part", table)


def write_errors(store: Store, *, iteration: int, shard: int, attempt: str, table: pa.Table) -> FileEntry:
    """Write the sources of a shard that failed, as `write_part` does."""
    return _write_table(store, layout.errors(iteration, shard, attempt), "errors", table)


def commit(store: Store, record: CommitRecord) -> CommitRecord:
    """Make a shard count, and return the record that does: this one, or that of the attempt which came first.

    Raises:
        IntegrityError: the record's rows do not add up, or the winner's record is damaged.
    """
    check_conservation(record)
    try:
        store.create(layout.commit(record.iteration, record.shard), record.to_bytes())
    except AlreadyExistsError:
        winner = read_commit(store, record.iteration, record.shard)
        if winner is None:
            raise
        return winner
    return record


def read_commit(store: Store, iteration: int, shard: int) -> CommitRecord | None:
    """The record of a committed shard, None of any other.

    Raises:
        IntegrityError: the record is damaged, or belongs to another shard.
    """
    key = layout.commit(iteration, shard)
    data = store.read_if_exists(key)
    if data is None:
        return None
    record = CommitRecord.from_bytes(data, f"{store.root}/{key}")
    expected = (iteration, shard, layout.part(iteration, shard, record.attempt))
    if (record.iteration, record.shard, record.part.key) != expected:
        raise IntegrityError(
            f"{store.root}/{key} speaks of shard {record.shard} of iteration {record.iteration} in {record.part.key}: "
            "restore the file that was written there"
        )
    return record


def read_commits(store: Store, plan: ShardPlan) -> list[CommitRecord]:
    """The records of the plan's committed shards, by shard index."""
    records = (read_commit(store, plan.iteration, shard.index) for shard in plan.shards)
    return [record for record in records if record is not None]


def missing_shards(store: Store, plan: ShardPlan) -> list[Shard]:
    """The shards of the plan that still have to be computed, by index."""
    return [shard for shard in plan.shards if not store.exists(layout.commit(plan.iteration, shard.index))]


def check_conservation(record: CommitRecord) -> None:
    """Hold a record to: trials in = rows out + trials counted by stop reason + trials lost to errors.

    Raises:
        IntegrityError: they differ, or the part does not hold as many rows as the counters say.
    """
    counts = record.counts
    where = f"iteration {record.iteration}, shard {record.shard}"
    kept = counts.get("rows_kept", 0)
    if record.part.rows != kept:
        raise IntegrityError(f"{where}: the part holds {record.part.rows} rows, its counters say rows_kept={kept}")
    stopped = sum(count for name, count in counts.items() if name.startswith(STOP_PREFIX))
    trials, lost = counts.get("trials", 0), counts.get("errors", 0)
    set_aside = 0 if record.errors is None else record.errors.rows or 0
    if (lost > 0) != (set_aside > 0) or (set_aside and lost % set_aside):
        raise IntegrityError(f"{where}: {lost} trials are counted as errors, but {set_aside} sources are set aside")
    if trials != kept + stopped + lost:
        raise IntegrityError(
            f"{where}: {trials} trials went in, but {kept} rows, {stopped} stops without a row and {lost} errors came "
            "out: this is a fault of the generator, please report it"
        )


def total_counts(records: Iterable[CommitRecord]) -> dict[str, int]:
    """Sum the counters of many records, by name."""
    totals: dict[str, int] = {}
    for record in records:
        _add(totals, record.counts)
    return dict(sorted(totals.items()))


def _add(totals: dict[str, int], counts: Mapping[str, int]) -> None:
    for name, count in counts.items():
        totals[name] = totals.get(name, 0) + count


def _write_table(store: Store, key: str, kind: FileKind, table: pa.Table) -> FileEntry:
    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer, compression="zstd", row_group_size=ROW_GROUP_ROWS)
    return write_entry(store, key, kind, buffer.getvalue().to_pybytes(), rows=table.num_rows)
