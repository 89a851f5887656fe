"""The stored rows of one iteration, checked again shard by shard with the iteration's own model.

Comes in: the plan and a ledger that already knows which files are damaged. Goes out: faults with their rows, into the
ledger, and how many rows were scored again. A shard of which the part or a source file is damaged is left out: its
rows would fail for a reason that is named already.
"""

import numpy as np
import numpy.typing as npt

from rsir_scale.config import Config
from rsir_scale.data.dataset import PreparedDataset
from rsir_scale.generation.recheck import ShardFacts, recheck_rows
from rsir_scale.generation.rows import PART_SCHEMA
from rsir_scale.generation.shard import cut_sources, rules_of
from rsir_scale.loop.faults import Ledger
from rsir_scale.models.base import Backbone
from rsir_scale.models.repository import load_trained, read_model
from rsir_scale.runs import layout
from rsir_scale.runs.commits import CommitRecord, read_commits
from rsir_scale.runs.lineage import load_slices, read_columns
from rsir_scale.runs.plan import ShardPlan
from rsir_scale.storage import Store


def verify_rows(
    store: Store, dataset: PreparedDataset, config: Config, plan: ShardPlan, ledger: Ledger, *, limit: int | None
) -> int:
    """Check every row of an iteration's parts.

    Args:
        plan: all its shards are committed.
        ledger: takes the faults.
        limit: rows to score again, spread evenly over the iteration; None for all.

    Returns:
        How many rows were scored again.
    """
    commits = read_commits(store, plan)
    total = sum(record.part.rows or 0 for record in commits)
    stride = 1 if limit is None else max(1, -(-total // max(1, limit)))
    backbone = _model(store, plan.iteration, ledger)
    if backbone is None:
        return 0
    first = scored = 0
    for record in commits:
        rows = record.part.rows or 0
        chosen = (np.arange(first, first + rows) % stride) == 0
        first += rows
        if rows and not _rests_on_damage(plan, record, dataset, ledger):
            scored += _verify_part(store, dataset, config, plan, record, backbone, chosen, ledger)
    return scored


def _model(store: Store, iteration: int, ledger: Ledger) -> Backbone | None:
    key = layout.model(iteration)
    if ledger.blames(key) or ledger.blames(read_model(store, iteration).weights.key):
        return None
    return ledger.guard(key, lambda: load_trained(store, iteration))


def _rests_on_damage(plan: ShardPlan, record: CommitRecord, dataset: PreparedDataset, ledger: Ledger) -> bool:
    names = [record.part.key]
    for piece in plan.shards[record.shard].slices:
        file = plan.files[piece.file]
        names.append(file.key if file.where == "run" else str(dataset.path / file.key))
        names.extend([file.dropped_key] if file.dropped_key else [])
    return any(ledger.blames(name) for name in names)


def _verify_part(
    store: Store,
    dataset: PreparedDataset,
    config: Config,
    plan: ShardPlan,
    record: CommitRecord,
    backbone: Backbone,
    chosen: npt.NDArray[np.bool_],
    ledger: Ledger,
) -> int:
    shard, key, rules = plan.shards[record.shard], record.part.key, rules_of(config, dataset)
    table = ledger.guard(key, lambda: read_columns(store, key, PART_SCHEMA.names, expected=record.part.rows))
    sources = ledger.guard(key, lambda: load_slices(store, dataset, plan.files, shard.slices))
    if table is None or sources is None:
        return 0
    facts = ShardFacts(
        sources=cut_sources(sources, rules),
        first_id=plan.sequence_id(shard, 0, 0),
        seed=config.seed,
        iteration=plan.iteration,
    )
    for fault in recheck_rows(table, facts, rules, backbone, score=chosen):
        ledger.add(key, fault.what, row=fault.row)
    return int(chosen.sum())
