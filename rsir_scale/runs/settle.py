"""Closing an iteration's generation: from committed shards to what the manifest says of them.

Comes in: a plan whose shards are all committed. Goes out: the summary and the list of files for the manifest. Here the
counts must meet: every source had its trials, every trial is a row, a stop or an error, and every row stayed or was
dropped as a duplicate. Running it again gives the same content under other attempt names.
"""

import hashlib
from collections.abc import Sequence

from rsir_scale.data.dataset import PreparedDataset
from rsir_scale.errors import IntegrityError, ResumableError
from rsir_scale.runs import layout
from rsir_scale.runs.commits import CommitRecord, check_conservation, read_commits, total_counts
from rsir_scale.runs.content import content_of
from rsir_scale.runs.dedupe import settle_duplicates
from rsir_scale.runs.lineage import SequenceFile, read_dropped
from rsir_scale.runs.manifest import Generation
from rsir_scale.runs.plan import ShardPlan
from rsir_scale.runs.records import FileEntry
from rsir_scale.storage.base import Store


def settle(
    store: Store, dataset: PreparedDataset, plan: ShardPlan, *, attempt: str, against_existing: bool
) -> tuple[Generation, list[FileEntry]]:
    """Settle duplicates and sum up an iteration's generation.

    Args:
        attempt: names the file of dropped ids.
        against_existing: drop rows, too, that repeat a sequence of the plan's own files.

    Returns:
        The summary, and the entries of plan, commits, parts (by shard), errors and dropped ids.

    Raises:
        ResumableError: a shard is not committed yet.
        IntegrityError: the counts do not add up, or a file is damaged.
    """
    records = read_commits(store, plan)
    if len(records) < len(plan.shards):
        raise ResumableError(
            f"iteration {plan.iteration}: {len(plan.shards) - len(records)} of {len(plan.shards)} shards are not "
            "committed: run the same command again"
        )
    for record in records:
        check_conservation(record)
    parts = [record.part for record in records]
    dropped = settle_duplicates(
        store,
        dataset,
        iteration=plan.iteration,
        attempt=attempt,
        parts=parts,
        existing=plan.files if against_existing else (),
    )
    content = content_of(store, dataset, [_as_file(part, dropped) for part in parts])
    counters = total_counts(records)
    sources = _sources(store, plan)
    _check(plan, counters, sources=sources, kept=content.rows, dropped=dropped.rows or 0)
    plan_entry = _entry(layout.plan(plan.iteration), plan.to_bytes())
    generation = Generation(
        plan_sha256=plan_entry.sha256,
        parts=len(parts),
        sources=sources,
        rows=content.rows,
        pairs=content.pairs,
        dropped=dropped.rows or 0,
        content_sha256=content.sha256,
        counters=counters,
        encoders=tuple(sorted({record.encoder for record in records})),
        searches=tuple(sorted({record.search for record in records})),
    )
    return generation, [plan_entry, *_entries(records), dropped]


def _as_file(part: FileEntry, dropped: FileEntry) -> SequenceFile:
    return SequenceFile(
        where="run",
        key=part.key,
        rows=part.rows or 0,
        sha256=part.sha256,
        dropped_key=dropped.key,
        dropped_sha256=dropped.sha256,
    )


def _entry(key: str, data: bytes, *, kind: str = "plan") -> FileEntry:
    return FileEntry.model_validate(
        {"key": key, "kind": kind, "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    )


def _entries(records: Sequence[CommitRecord]) -> list[FileEntry]:
    commits = [
        _entry(layout.commit(record.iteration, record.shard), record.to_bytes(), kind="commit") for record in records
    ]
    errors = [record.errors for record in records if record.errors is not None]
    return [*commits, *(record.part for record in records), *errors]


def _sources(store: Store, plan: ShardPlan) -> int:
    """Rows of the plan's files that were not dropped as duplicates when they were written."""
    dropped = {file.dropped_key for file in plan.files if file.dropped_key is not None}
    return plan.rows - sum(len(read_dropped(store, key)) for key in dropped)


def _check(plan: ShardPlan, counters: dict[str, int], *, sources: int, kept: int, dropped: int) -> None:
    expected, trials = sources * plan.trials_per_sequence, counters.get("trials", 0)
    if trials != expected:
        raise IntegrityError(
            f"iteration {plan.iteration}: {sources} sources with {plan.trials_per_sequence} trials each make "
            f"{expected}, the commits count {trials}: this is a fault of the generator, please report it"
        )
    if counters.get("rows_kept", 0) != kept + dropped:
        raise IntegrityError(
            f"iteration {plan.iteration}: {counters.get('rows_kept', 0)} rows were committed, but {kept} are kept and "
            f"{dropped} dropped: a part is not the one that was committed; restore it"
        )
