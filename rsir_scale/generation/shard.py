"""One shard, whole: read its sources, have them written from, write the part, commit.

Comes in: a shard of the stored plan, and what writes. Goes out: its commit record. Nothing of a shard counts before the
commit; killed anywhere, it is computed again from the start, with the same result, because its rows depend on the
shard alone.
"""

import time
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from rsir_scale.augmenters.base import Augmenter
from rsir_scale.augmenters.opening import augmenter_of, known_items
from rsir_scale.augmenters.part import part_table
from rsir_scale.augmenters.quarantine import Rows, survive
from rsir_scale.augmenters.written import BoolArray, Written, check_written
from rsir_scale.data.sequences import Sequences
from rsir_scale.generation.learning import Report, fit_augmenter_locally
from rsir_scale.generation.rows import error_rows, shard_counts
from rsir_scale.runs import layout
from rsir_scale.runs.commits import CommitRecord, commit, missing_shards, read_commit, write_errors, write_part
from rsir_scale.runs.lineage import load_slices
from rsir_scale.runs.plan import Shard, ShardPlan
from rsir_scale.runs.processor import processor_name
from rsir_scale.runs.run import Run


class Writer(Protocol):
    """What writes all rows of some sources, wherever it works."""

    def __call__(self, sources: Sequences) -> Written:
        """Write them; what comes of a source does not depend on the others."""


@dataclass(frozen=True)
class Generator:
    """All that a process needs to compute any shard of one iteration.

    Attributes:
        augmenter: says what its rows must keep to; need not be open.
        plan: the iteration's.
        writer: what writes.
    """

    augmenter: Augmenter
    plan: ShardPlan
    writer: Writer

    @cached_property
    def known_V(self) -> BoolArray | None:  # noqa: N802 - a tensor's shape
        """See `augmenters.opening.known_items`."""
        return known_items(self.augmenter)

    def written_from(self, sources: Sequences) -> Written:
        """Have rows written, and hold them to the contract. Raises BrokenContractError, and what the writer raises."""
        augmenter, written = self.augmenter, self.writer(sources)
        check_written(
            written,
            sources,
            trials=self.plan.trials_per_sequence,
            item_count=augmenter.run.dataset.meta.items,
            known_V=self.known_V,
            evidence=augmenter.evidence,
        )
        return written


def open_writer(run: Run, iteration: int, *, device: str = "cpu") -> Writer:
    """What writes in this process. Raises as the augmenter's `open` does."""
    augmenter = augmenter_of(run, iteration, device=device)
    augmenter.open()
    return augmenter.write


def run_shard(generator: Generator, shard: Shard) -> CommitRecord:
    """Compute and commit a shard; one that is committed already is left alone.

    Raises:
        StorageFullError: the store took no more bytes; nothing was committed.
        IntegrityError: a source file is not what the plan says.
        ResumableError: more sources fail than `run.max_error_rate` lets go; nothing was committed.
    """
    plan, run = generator.plan, generator.augmenter.run
    committed = read_commit(run.store, plan.iteration, shard.index)
    if committed is not None:
        return committed
    started = time.perf_counter()
    sources = load_slices(run, plan.files, shard.slices)

    def written_from(rows: Rows) -> Written:
        return generator.written_from(sources.select(rows))

    survived = survive(written_from, len(sources), max_rate=run.config.run.max_error_rate)
    written, chosen = survived.result, sources.select(survived.rows)
    table = part_table(
        written,
        chosen,
        shard.first_position + survived.rows,
        first_id=plan.first_sequence_id,
        iteration=plan.iteration,
        trials=plan.trials_per_sequence,
        evidence=generator.augmenter.evidence,
    )
    attempt = layout.new_attempt()
    errors = None
    if survived.failed:
        failed = error_rows(sources.ids[list(survived.failed)], list(survived.failed.values()))
        errors = write_errors(run.store, iteration=plan.iteration, shard=shard.index, attempt=attempt, table=failed)
    part = write_part(run.store, iteration=plan.iteration, shard=shard.index, attempt=attempt, table=table)
    return commit(
        run.store,
        CommitRecord(
            iteration=plan.iteration,
            shard=shard.index,
            attempt=attempt,
            part=part,
            errors=errors,
            counts=shard_counts(written, chosen, trials=plan.trials_per_sequence, failed=len(survived.failed)),
            encoder=written.encoder,
            search=written.search,
            processor=processor_name(),
            seconds=time.perf_counter() - started,
        ),
    )


def generate_locally(run: Run, plan: ShardPlan, *, report: Report | None = None) -> None:
    """Compute every missing shard of a plan in this process, one after another; Ray is not needed.

    Args:
        run: its model of the iteration is published.
        plan: of the iteration.
        report: called after each interval of what the augmenter fits, if it fits something.
    """
    missing = missing_shards(run.store, plan)
    if not missing:
        return
    augmenter = augmenter_of(run, plan.iteration)
    fit_augmenter_locally(augmenter, report)
    augmenter.prepare(plan)
    augmenter.open()
    generator = Generator(augmenter, plan, augmenter.write)
    for shard in missing:
        run_shard(generator, shard)
