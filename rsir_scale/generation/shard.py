"""One shard, whole: read its sources, decode every trial, write the part, commit.

Comes in: a shard of the stored plan. Goes out: its commit record. Nothing of a shard counts before the commit; killed
anywhere, it is computed again from the start, with the same result, because its batches depend on it alone.
"""

import time
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from rsir_scale.augmenters.rsir.decode import Decoded, decode
from rsir_scale.augmenters.rsir.rules import Rules, cut_sources, rules_of
from rsir_scale.augmenters.rsir.searching import open_search, prepare_search
from rsir_scale.config.settings import Config
from rsir_scale.data.dataset import PreparedDataset, Sequences
from rsir_scale.generation.quarantine import Rows, survive
from rsir_scale.generation.rows import error_rows, part_rows, shard_counts
from rsir_scale.models.base import Backbone
from rsir_scale.models.repository import load_writing_model
from rsir_scale.ranking.base import ItemSearch
from rsir_scale.runs import layout
from rsir_scale.runs.commits import CommitRecord, commit, missing_shards, read_commit, write_errors, write_part
from rsir_scale.runs.lineage import load_slices
from rsir_scale.runs.plan import Shard, ShardPlan
from rsir_scale.storage.base import Store


class Writer(Protocol):
    """What decodes all trials of some sources; where it works is its own affair."""

    @property
    def search_name(self) -> str:
        """What scans the items, such as exact/avx2."""

    def __call__(self, sources: Sequences) -> Decoded:
        """Decode them; what comes of a source does not depend on the others."""


@dataclass(frozen=True)
class LocalWriter:
    """A writer in this process."""

    backbone: Backbone
    search: ItemSearch
    rules: Rules
    identity: tuple[int, int]

    @property
    def search_name(self) -> str:
        """See `Writer.search_name`."""
        return self.search.name

    def __call__(self, sources: Sequences) -> Decoded:
        """See `Writer.__call__`."""
        return decode(self.backbone, self.search, sources, self.rules, identity=self.identity)


@dataclass(frozen=True)
class Generator:
    """All that a process needs to compute any shard of one iteration."""

    store: Store
    dataset: PreparedDataset
    plan: ShardPlan
    rules: Rules
    max_error_rate: float
    writer: Writer


def open_generator(
    store: Store, dataset: PreparedDataset, config: Config, plan: ShardPlan, writer: Writer
) -> Generator:
    """Put together what computes the shards of a plan. Raises ConfigError: the settings cannot work on this dataset."""
    return Generator(store, dataset, plan, rules_of(config, dataset), config.run.max_error_rate, writer)


def open_writer(
    store: Store, dataset: PreparedDataset, config: Config, iteration: int, *, device: str = "cpu"
) -> LocalWriter:
    """Load what writes the iteration and build the search over its item table.

    Raises:
        ObjectMissingError: there is no such model.
        IntegrityError: its weights or its clusters are damaged, or an item vector is not finite.
        ConfigError: the settings cannot work on this dataset, or the search not on this device.
    """
    rules = rules_of(config, dataset)
    backbone = load_writing_model(store, config.generation, iteration, device=device, item_name=dataset.item_name)
    search = open_search(store, dataset, config.fidelity, iteration, backbone.item_vectors())
    return LocalWriter(backbone, search, rules, (config.seed, iteration))


def run_shard(generator: Generator, shard: Shard) -> CommitRecord:
    """Compute and commit a shard; one that is committed already is left alone.

    Raises:
        StorageFullError: the store took no more bytes; nothing was committed.
        IntegrityError: a source file is not what the plan says.
        ResumableError: more sources fail than `run.max_error_rate` lets go; nothing was committed.
    """
    plan, store = generator.plan, generator.store
    committed = read_commit(store, plan.iteration, shard.index)
    if committed is not None:
        return committed
    started = time.perf_counter()
    rules = generator.rules
    sources = load_slices(store, generator.dataset, plan.files, shard.slices)
    usable = cut_sources(sources, rules)
    tried = np.flatnonzero(usable.lengths >= 2)

    def written_from(rows: Rows) -> Decoded:
        return generator.writer(usable.select(tried[rows]))

    survived = survive(written_from, len(tried), max_rate=generator.max_error_rate)
    decoded, rows = survived.result, tried[survived.rows]
    chosen = usable.select(rows)
    table = part_rows(
        decoded,
        chosen,
        shard.first_position + rows,
        rules,
        first_id=plan.first_sequence_id,
        iteration=plan.iteration,
    )
    counts = shard_counts(decoded, chosen, rules, too_short=len(sources) - len(tried), failed=len(survived.failed))
    attempt = layout.new_attempt()
    errors = None
    if survived.failed:
        failed = error_rows(usable.ids[tried[list(survived.failed)]], list(survived.failed.values()))
        errors = write_errors(store, iteration=plan.iteration, shard=shard.index, attempt=attempt, table=failed)
    part = write_part(store, iteration=plan.iteration, shard=shard.index, attempt=attempt, table=table)
    seconds = time.perf_counter() - started
    return commit(
        store,
        CommitRecord(
            iteration=plan.iteration,
            shard=shard.index,
            attempt=attempt,
            part=part,
            errors=errors,
            counts=counts,
            encoder=decoded.encoder,
            search=generator.writer.search_name,
            seconds=seconds,
        ),
    )


def generate_locally(store: Store, dataset: PreparedDataset, config: Config, plan: ShardPlan) -> None:
    """Compute every missing shard of a plan in this process, one after another; Ray is not needed."""
    missing = missing_shards(store, plan)
    if not missing:
        return
    prepare_search(store, dataset, config, plan)
    generator = open_generator(store, dataset, config, plan, open_writer(store, dataset, config, plan.iteration))
    for shard in missing:
        run_shard(generator, shard)
