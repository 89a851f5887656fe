"""Closing an iteration's generation: from committed shards to what the manifest says of them.

Comes in: a plan whose shards are all committed. Goes out: the summary and the list of files for the manifest. Here the
counts must meet: every source had its trials, every trial is a row, a stop or an error, and every row stayed or was
dropped as a duplicate. Running it again gives the same content under other attempt names.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rsir_scale.data.schema import SEQUENCE_ID
from rsir_scale.data.sequences import Int64Array
from rsir_scale.errors import IntegrityError, ResumableError
from rsir_scale.runs import layout
from rsir_scale.runs.columns import SOURCE_SEQUENCE_ID
from rsir_scale.runs.commits import CommitRecord, check_conservation, read_commits, total_counts
from rsir_scale.runs.content import content_of
from rsir_scale.runs.dedupe import Repeats, duplicate_ids, write_ids
from rsir_scale.runs.lineage import SequenceFile, part_files, read_omitted, stream
from rsir_scale.runs.manifest import Generation
from rsir_scale.runs.owners import kept_rows
from rsir_scale.runs.plan import ShardPlan
from rsir_scale.runs.records import FileEntry
from rsir_scale.runs.run import Run


@dataclass(frozen=True)
class SettleRules:
    """Which rows of an iteration count, and what becomes of their sources.

    Attributes:
        repeats: the rows that are dropped.
        replaces_source: whether kept rows stand in D_{k+1} in place of their sources.
    """

    repeats: Repeats
    replaces_source: bool = False


def settle(
    run: Run,
    plan: ShardPlan,
    rules: SettleRules,
    *,
    attempt: str,
) -> tuple[Generation, list[FileEntry]]:
    """Settle duplicates and sum up an iteration's generation.

    Args:
        rules: the augmenter's.
        attempt: names the files of ids that do not count.

    Returns:
        The summary, and the entries of plan, commits, parts (by shard), errors, dropped and replaced ids.

    Raises:
        ResumableError: a shard is not committed yet.
        IntegrityError: the counts do not add up, or a file is damaged.
    """
    store = run.store
    records = read_commits(store, plan)
    if len(records) < len(plan.shards):
        raise ResumableError(
            f"iteration {plan.iteration}: {len(plan.shards) - len(records)} of {len(plan.shards)} shards are not "
            "committed: run the same command again"
        )
    for record in records:
        check_conservation(record)
    parts = [record.part for record in records]
    duplicates = duplicates_of(run, plan, parts, rules.repeats)
    dropped = write_ids(store, layout.dropped(plan.iteration, attempt), "dropped", duplicates)
    files = part_files([*parts, dropped])
    content = content_of(run, files)
    counters = total_counts(records)
    sources = _sources(run, plan)
    _check(plan, counters, sources=sources, kept=content.rows, dropped=dropped.rows or 0)
    gone, replaced = np.empty(0, dtype=np.int64), []
    if rules.replaces_source:
        gone = replaced_ids(run, files)
        replaced = [write_ids(store, layout.replaced(plan.iteration, attempt), "replaced", gone)]
    plan_entry = _entry(layout.plan(plan.iteration), plan.to_bytes())
    generation = Generation(
        plan_sha256=plan_entry.sha256,
        parts=len(parts),
        sources=sources,
        rows=content.rows,
        pairs=content.pairs,
        dropped=dropped.rows or 0,
        replaced=len(gone),
        replaced_pairs=pairs_of(run, plan, gone) if len(gone) else 0,
        content_sha256=content.sha256,
        counters=counters,
        encoders=tuple(sorted({record.encoder for record in records})),
        searches=tuple(sorted({record.search for record in records})),
        processors=tuple(sorted({record.processor for record in records})),
    )
    return generation, [plan_entry, *_entries(records), dropped, *replaced]


def mixture_facts(generation: Generation) -> list[str]:
    """Say in words, for the manifest, where the parts of an iteration were not all computed alike."""
    named = {
        "encoders": generation.encoders,
        "searches": generation.searches,
        "processors": generation.processors,
    }
    return [
        f"its parts come from {len(names)} {kind}: {'; '.join(name or 'one not recorded' for name in names)}"
        for kind, names in named.items()
        if len(names) > 1
    ]


def duplicates_of(run: Run, plan: ShardPlan, parts: Sequence[FileEntry], repeats: Repeats) -> Int64Array:
    """The rows of an iteration's parts that are dropped, by sequence_id, ascending. Raises as `duplicate_ids` does."""
    if repeats == "none":
        return np.empty(0, dtype=np.int64)
    existing = plan.files if repeats == "of_all" else ()
    return duplicate_ids(run, iteration=plan.iteration, parts=parts, existing=existing)


def replaced_ids(run: Run, files: Sequence[SequenceFile]) -> Int64Array:
    """The sources of the kept rows of an iteration's parts, ascending. Raises IntegrityError."""
    tables = kept_rows(run.store, files, [SEQUENCE_ID, SOURCE_SEQUENCE_ID])
    named = [table.column(SOURCE_SEQUENCE_ID).to_numpy() for table in tables]
    return np.unique(np.concatenate([np.empty(0, np.int64), *named]))


def pairs_of(run: Run, plan: ShardPlan, ids: Int64Array) -> int:
    """Training pairs of those sources of a plan that have the given ids. Raises IntegrityError."""
    return sum(
        int(np.maximum(sequences.lengths[np.isin(sequences.ids, ids)] - 1, 0).sum())
        for sequences in stream(run, plan.files)
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


def _sources(run: Run, plan: ShardPlan) -> int:
    """Rows of the plan's files that count."""
    # Each omitted id is a row of one of these files, and of no other list: what is gone is never a source again.
    return plan.rows - sum(len(ids) for ids in read_omitted(run.store, plan.files).values())


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
