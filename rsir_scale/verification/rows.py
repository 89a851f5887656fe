"""The stored rows of one iteration, checked again shard by shard with the model that wrote them.

Comes in: the plan and a ledger that already knows which files are damaged. Goes out: faults with their rows, into the
ledger, and how many rows were scored again. A shard of which the part or a source file is damaged is left out: its
rows would fail for a reason that is named already.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rsir_scale.augmenters.rsir.recheck import ShardFacts, recheck_rows
from rsir_scale.augmenters.rsir.rescore import Probing
from rsir_scale.augmenters.rsir.rules import cut_sources, rules_of
from rsir_scale.augmenters.rsir.searching import open_clusters
from rsir_scale.config.settings import Config
from rsir_scale.data.dataset import PreparedDataset
from rsir_scale.models.base import Backbone
from rsir_scale.models.repository import load_writing_model, read_writing_model
from rsir_scale.runs import layout
from rsir_scale.runs.columns import PART_SCHEMA
from rsir_scale.runs.commits import CommitRecord, read_commits
from rsir_scale.runs.lineage import load_slices, located, read_columns
from rsir_scale.runs.plan import ShardPlan
from rsir_scale.storage.base import Store
from rsir_scale.verification.faults import Ledger


def verify_rows(
    store: Store,
    dataset: PreparedDataset,
    config: Config,
    plan: ShardPlan,
    ledger: Ledger,
    *,
    limit: int | None,
    tell: Callable[[str], None],
) -> int:
    """Check every row of an iteration's parts.

    Args:
        plan: all its shards are committed.
        ledger: takes the faults.
        limit: rows to score again, spread evenly over the iteration; None for all.
        tell: is told which part is being checked.

    Returns:
        How many rows were scored again.
    """
    commits = read_commits(store, plan)
    total = sum(record.part.rows or 0 for record in commits)
    stride = 1 if limit is None else max(1, -(-total // max(1, limit)))
    backbone = _writing_model(store, config, plan.iteration, ledger)
    key = layout.search(plan.iteration)
    if backbone is None or ledger.blames(key):
        return 0
    clusters = ledger.guard(key, lambda: open_clusters(store, plan.iteration))
    if ledger.blames(key):
        return 0
    settings = config.fidelity
    probing = None if clusters is None else Probing(clusters, settings.nprobe, settings.semantics)
    checker = _Checker(store, dataset, config, plan, backbone, probing, ledger)
    first = scored = 0
    for number, record in enumerate(commits, start=1):
        tell(f"iteration {plan.iteration}  verifying  part {number}/{len(commits)}")
        rows = record.part.rows or 0
        chosen = (np.arange(first, first + rows) % stride) == 0
        first += rows
        if rows and not checker.rests_on_damage(record):
            scored += checker.check(record, chosen)
    return scored


def _writing_model(store: Store, config: Config, iteration: int, ledger: Ledger) -> Backbone | None:
    key = layout.model(iteration) if config.generation.teacher is None else layout.TEACHER
    if ledger.blames(key):
        return None
    model = ledger.guard(key, lambda: read_writing_model(store, config.generation, iteration))
    if model is None or any(ledger.blames(entry.key) for entry in model.weights):
        return None
    return ledger.guard(key, lambda: load_writing_model(store, config.generation, iteration))


@dataclass(frozen=True)
class _Checker:
    """All that the parts of one iteration are held to."""

    store: Store
    dataset: PreparedDataset
    config: Config
    plan: ShardPlan
    backbone: Backbone
    probing: Probing | None
    ledger: Ledger

    def rests_on_damage(self, record: CommitRecord) -> bool:
        """Whether the part, or a file that its sources come from, is at fault already."""
        names = [record.part.key]
        for piece in self.plan.shards[record.shard].slices:
            file = self.plan.files[piece.file]
            key = located(self.store, self.dataset, file)[1]
            names.append(key if file.where == "run" else f"{self.dataset.path}/{key}")
            names.extend([file.dropped_key] if file.dropped_key else [])
        return any(self.ledger.blames(name) for name in names)

    def check(self, record: CommitRecord, chosen: npt.NDArray[np.bool_]) -> int:
        """Check one part's rows, scoring the chosen ones; returns how many were scored."""
        plan, key, rules = self.plan, record.part.key, rules_of(self.config, self.dataset)
        shard = plan.shards[record.shard]
        table = self.ledger.guard(
            key, lambda: read_columns(self.store, key, PART_SCHEMA.names, expected=record.part.rows)
        )
        sources = self.ledger.guard(key, lambda: load_slices(self.store, self.dataset, plan.files, shard.slices))
        if table is None or sources is None:
            return 0
        facts = ShardFacts(
            sources=cut_sources(sources, rules),
            first_id=plan.sequence_id(shard, 0, 0),
            seed=self.config.seed,
            iteration=plan.iteration,
        )
        for fault in recheck_rows(table, facts, rules, self.backbone, probing=self.probing, score=chosen):
            self.ledger.add(key, fault.what, row=fault.row)
        return int(chosen.sum())
