"""The stored rows of one iteration, checked again shard by shard by the augmenter that wrote them.

Comes in: the plan and a ledger that already knows which files are damaged. Goes out: faults with their rows, into the
ledger, and how many rows were made again. A shard of which the part or a source file is damaged is left out, and so is
an iteration whose model or preparation is: its rows would fail for a reason that is named already.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rsir_scale.augmenters.base import Augmenter
from rsir_scale.augmenters.part import Part
from rsir_scale.data.sequences import Int64Array
from rsir_scale.runs import layout
from rsir_scale.runs.columns import SOURCE_SEQUENCE_ID, with_evidence
from rsir_scale.runs.commits import CommitRecord, read_commits
from rsir_scale.runs.lineage import load_slices, located, read_columns
from rsir_scale.runs.manifest import Manifest
from rsir_scale.runs.plan import ShardPlan
from rsir_scale.steps import Step, Tell
from rsir_scale.verification.faults import Ledger

_RESTS_ON = frozenset({"model", "weights", "search", "clusters", "prepared", "learned"})


def verify_rows(
    augmenter: Augmenter,
    manifest: Manifest,
    plan: ShardPlan,
    ledger: Ledger,
    *,
    limit: int | None,
    tell: Tell,
) -> int:
    """Check every row of an iteration's parts.

    Args:
        augmenter: that of the iteration, not opened yet.
        manifest: the iteration's; the files that it names were hashed.
        plan: all its shards are committed.
        ledger: takes the faults.
        limit: rows to choose, spread evenly over the iteration, to be made again; None for all.
        tell: is told which part is being checked.

    Returns:
        How many rows were made again.
    """
    commits = read_commits(augmenter.run.store, plan)
    total = sum(record.part.rows or 0 for record in commits)
    stride = 1 if limit is None else max(1, -(-total // max(1, limit)))
    if not _opened(augmenter, manifest, ledger):
        return 0
    checker = _Checker(augmenter, plan, ledger)
    first = again = 0
    for number, record in enumerate(commits, start=1):
        tell(Step(f"iteration {plan.iteration}  verifying", number, len(commits), "part"))
        rows = record.part.rows or 0
        chosen = (np.arange(first, first + rows) % stride) == 0
        first += rows
        if not checker.rests_on_damage(record):
            again += checker.check(record, chosen)
    return again


def _opened(augmenter: Augmenter, manifest: Manifest, ledger: Ledger) -> bool:
    """Open the augmenter, unless what it rests on is at fault already or proves to be."""
    rests_on = [entry.key for entry in manifest.files if entry.kind in _RESTS_ON]
    if manifest.model.teacher is not None:
        rests_on += [layout.TEACHER, *(entry.key for entry in manifest.model.teacher.weights)]
    if any(ledger.blames(name) for name in rests_on):
        return False
    key = layout.model(augmenter.iteration)
    ledger.guard(key, augmenter.open)
    return not ledger.blames(key)


@dataclass(frozen=True)
class _Checker:
    """All that the parts of one iteration are held to."""

    augmenter: Augmenter
    plan: ShardPlan
    ledger: Ledger

    def rests_on_damage(self, record: CommitRecord) -> bool:
        """Whether the part, or a file that its sources come from, is at fault already."""
        run = self.augmenter.run
        names = [record.part.key, *([record.errors.key] if record.errors else [])]
        for piece in self.plan.shards[record.shard].slices:
            file = self.plan.files[piece.file]
            key = located(run, file)[1]
            names.append(key if file.where == "run" else f"{run.dataset.path}/{key}")
            names.extend(omitted.key for omitted in file.without)
        return any(self.ledger.blames(name) for name in names)

    def check(self, record: CommitRecord, chosen: npt.NDArray[np.bool_]) -> int:
        """Check one part's rows, making the chosen ones again; returns how many were."""
        run, plan, key = self.augmenter.run, self.plan, record.part.key
        shard = plan.shards[record.shard]
        columns = with_evidence(self.augmenter.evidence).names
        table = self.ledger.guard(key, lambda: read_columns(run.store, key, columns, expected=record.part.rows))
        sources = self.ledger.guard(key, lambda: load_slices(run, plan.files, shard.slices))
        set_aside = self.ledger.guard(key, lambda: self._set_aside(record))
        if table is None or sources is None or set_aside is None:
            return 0
        part = Part(
            table=table,
            sources=sources,
            first_id=plan.sequence_id(shard, 0, 0),
            set_aside=set_aside,
            chosen=chosen,
        )
        found = self.augmenter.recheck(part)
        for fault in found.faults:
            self.ledger.add(key, fault.what, row=fault.row)
        return found.again

    def _set_aside(self, record: CommitRecord) -> Int64Array:
        if record.errors is None:
            return np.empty(0, dtype=np.int64)
        table = read_columns(self.augmenter.run.store, record.errors.key, [SOURCE_SEQUENCE_ID])
        return np.asarray(table.column(0).to_numpy())
