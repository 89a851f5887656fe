"""What an iteration says of its generation, recomputed: plan, commits, counters, held-out hits, duplicates, content.

Comes in: a manifest whose files were hashed, and a ledger that knows which of them are damaged. Goes out: faults, into
the ledger, and the plan if the rows can be looked at. Where a file of an earlier iteration or of the dataset is
damaged, what would be computed from it is left out.
"""

from functools import partial

import numpy as np

from rsir_scale.augmenters.base import Augmenter
from rsir_scale.runs import layout
from rsir_scale.runs.commits import CommitRecord, check_conservation, read_commit, total_counts
from rsir_scale.runs.content import content_of
from rsir_scale.runs.dedupe import Repeats
from rsir_scale.runs.lineage import committed_files, part_files, read_ids
from rsir_scale.runs.manifest import Generation, Manifest
from rsir_scale.runs.owners import held_out_hits
from rsir_scale.runs.plan import ShardPlan, expected_plan, read_plan
from rsir_scale.runs.run import Run
from rsir_scale.runs.settle import duplicates_of, pairs_of, replaced_ids
from rsir_scale.storage.base import Store
from rsir_scale.verification.faults import Ledger


def check_generation(
    augmenter: Augmenter, manifest: Manifest, ledger: Ledger, *, earlier_whole: bool
) -> ShardPlan | None:
    """Check one iteration's generation; its rows are the business of `verify_rows`.

    Args:
        augmenter: that of the iteration, not opened.
        manifest: of an iteration that wrote sequences.
        ledger: knows the damaged files of this iteration; takes the faults.
        earlier_whole: whether the dataset and all earlier iterations are undamaged.

    Returns:
        The plan, if it and all its commits can be trusted; else None.
    """
    run, store = augmenter.run, augmenter.run.store
    iteration, recorded = manifest.iteration, manifest.generation
    key = layout.plan(iteration)
    plan = None if ledger.blames(key) else ledger.guard(key, lambda: read_plan(store, iteration))
    if plan is None or recorded is None:
        return None
    if earlier_whole:
        expected = ledger.guard(key, lambda: expected_plan(run, iteration, trials=augmenter.trials))
        if expected is None or not plan.is_work_of(expected):
            ledger.add(key, "it is not the plan that data and settings give")
            return None
    commits = _commits(store, plan, manifest, ledger)
    if commits is None:
        return None
    rests_on = [entry.key for entry in manifest.files if entry.kind in ("part", "dropped", "replaced")]
    if not any(ledger.blames(name) for name in rests_on):
        totals = total_counts(commits)
        if earlier_whole:
            _check_counters(run, manifest, recorded, totals, ledger)
            rules = augmenter.settle_rules
            _check_dropped(run, manifest, plan, ledger, repeats=rules.repeats)
            _check_replaced(run, manifest, plan, ledger, replaces_source=rules.replaces_source)
        _check_content(run, manifest, recorded, ledger, committed=totals.get("rows_kept", 0))
    return plan


def _commits(store: Store, plan: ShardPlan, manifest: Manifest, ledger: Ledger) -> list[CommitRecord] | None:
    """The records of all shards; None where one is missing, damaged or another than the manifest's."""
    records = []
    for shard in plan.shards:
        key = layout.commit(plan.iteration, shard.index)
        if ledger.blames(key):
            continue
        record = ledger.guard(key, partial(read_commit, store, plan.iteration, shard.index))
        if record is None:
            ledger.add(key, "the shard is planned, but not committed")
            continue
        ledger.guard(key, partial(check_conservation, record))
        if record.part not in manifest.files:
            ledger.add(key, f"it names {record.part.key} otherwise than the manifest does")
        if not ledger.blames(key):
            records.append(record)
    return records if len(records) == len(plan.shards) else None


def _check_counters(run: Run, manifest: Manifest, recorded: Generation, totals: dict[str, int], ledger: Ledger) -> None:
    key = layout.generation_link(manifest.iteration)
    hits = ledger.guard(key, lambda: held_out_hits(run, manifest.iteration, manifest.files))
    again = totals | (hits or {})
    for name in sorted({*again, *recorded.counters}):
        if again.get(name) != recorded.counters.get(name):
            ledger.add(key, f"counter {name} is {recorded.counters.get(name)}, commits and rows give {again.get(name)}")


def _check_dropped(run: Run, manifest: Manifest, plan: ShardPlan, ledger: Ledger, *, repeats: Repeats) -> None:
    """Find the duplicates again and compare."""
    key = next((entry.key for entry in manifest.files if entry.kind == "dropped"), None)
    if key is None:
        ledger.add(layout.generation_link(plan.iteration), "it names no file of dropped duplicates")
        return
    parts = [entry for entry in manifest.files if entry.kind == "part"]
    recorded = ledger.guard(key, lambda: read_ids(run.store, key))
    again = ledger.guard(key, lambda: duplicates_of(run, plan, parts, repeats))
    if recorded is None or again is None:
        return
    for row in np.setxor1d(recorded, again).tolist():
        ledger.add(key, "it is dropped, but no duplicate" if row in recorded else "a duplicate that is kept", row=row)
    if len(recorded) > 1 and np.diff(recorded).min() <= 0:
        ledger.add(key, "its ids do not ascend")


def _check_replaced(run: Run, manifest: Manifest, plan: ShardPlan, ledger: Ledger, *, replaces_source: bool) -> None:
    """List the sources that rows stand in place of again, and compare."""
    key, recorded = layout.generation_link(plan.iteration), manifest.generation
    named = [entry.key for entry in manifest.files if entry.kind == "replaced"]
    if len(named) != int(replaces_source):
        ledger.add(key, f"it names {len(named)} files of replaced sources, its augmenter gives {int(replaces_source)}")
        return
    if recorded is None or not named:
        return
    stored = ledger.guard(named[0], lambda: read_ids(run.store, named[0]))
    again = ledger.guard(named[0], lambda: replaced_ids(run, part_files(manifest.files)))
    if stored is None or again is None:
        return
    for row in np.setxor1d(stored, again).tolist():
        ledger.add(named[0], "it is replaced by no row" if row in stored else "a row replaces it", row=row)
    pairs = ledger.guard(key, lambda: pairs_of(run, plan, again))
    if (recorded.replaced, recorded.replaced_pairs) != (len(again), pairs):
        ledger.add(
            key,
            f"{recorded.replaced} sources with {recorded.replaced_pairs} pairs are replaced, its rows give "
            f"{len(again)} with {pairs}",
        )


def _check_content(run: Run, manifest: Manifest, recorded: Generation, ledger: Ledger, *, committed: int) -> None:
    key = layout.generation_link(manifest.iteration)
    if recorded.rows + recorded.dropped != committed:
        ledger.add(key, f"{recorded.rows} rows and {recorded.dropped} duplicates are not the {committed} committed")
    content = ledger.guard(key, lambda: content_of(run, committed_files(run.store, manifest.iteration)))
    if content is not None and (content.rows, content.pairs, content.sha256) != (
        recorded.rows,
        recorded.pairs,
        recorded.content_sha256,
    ):
        ledger.add(key, f"its rows have content {content.sha256}, it says {recorded.content_sha256}")
