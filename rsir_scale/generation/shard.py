"""One shard, whole: read its sources, decode every trial, write the part, commit.

Comes in: a shard of the stored plan. Goes out: its commit record. Nothing of a shard counts before the commit; killed
anywhere, it is computed again from the start, with the same result, because its batches depend on it alone.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from rsir_scale.config import Config
from rsir_scale.data.dataset import PreparedDataset, Sequences
from rsir_scale.data.sequences import offsets_of
from rsir_scale.generation.decode import decode
from rsir_scale.generation.rows import part_rows, shard_counts
from rsir_scale.generation.rules import Rules, resolve_rules
from rsir_scale.models.base import Backbone
from rsir_scale.models.repository import load_trained
from rsir_scale.ranking.base import ItemSearch
from rsir_scale.ranking.build import exact_search
from rsir_scale.runs import layout
from rsir_scale.runs.commits import CommitRecord, commit, missing_shards, read_commit, write_part
from rsir_scale.runs.lineage import load_slices
from rsir_scale.runs.plan import Shard, ShardPlan
from rsir_scale.storage import Store


@dataclass(frozen=True)
class Generator:
    """All that a process needs to compute any shard of one iteration."""

    store: Store
    dataset: PreparedDataset
    plan: ShardPlan
    rules: Rules
    seed: int
    backbone: Backbone
    search: ItemSearch


def open_generator(
    store: Store, dataset: PreparedDataset, config: Config, plan: ShardPlan, *, device: str = "cpu"
) -> Generator:
    """Load the iteration's model and build the search over its item table.

    Raises:
        ObjectMissingError: the iteration has no model.
        IntegrityError: its weights are damaged.
        ConfigError: the rank threshold is not below the catalogue size.
    """
    rules = rules_of(config, dataset)
    backbone = load_trained(store, plan.iteration, device=device)
    search = exact_search(backbone.item_vectors())
    return Generator(store, dataset, plan, rules, config.seed, backbone, search)


def rules_of(config: Config, dataset: PreparedDataset) -> Rules:
    """Resolve a run's rules of a trial on its dataset. Raises ConfigError."""
    meta = dataset.meta
    return resolve_rules(config.generation, config.fidelity, item_count=meta.items, repeat_share=meta.repeat_share)


def run_shard(generator: Generator, shard: Shard) -> CommitRecord:
    """Compute and commit a shard; one that is committed already is left alone.

    Raises:
        StorageFullError: the store took no more bytes; nothing was committed.
        IntegrityError: a source file is not what the plan says.
    """
    plan, store = generator.plan, generator.store
    committed = read_commit(store, plan.iteration, shard.index)
    if committed is not None:
        return committed
    started = time.perf_counter()
    rules = generator.rules
    sources = load_slices(store, generator.dataset, plan.files, shard.slices)
    usable = cut_sources(sources, rules)
    rows = np.flatnonzero(usable.lengths >= 2)
    chosen = usable.select(rows)
    identity = (generator.seed, plan.iteration)
    decoded = decode(generator.backbone, generator.search, chosen, rules, identity=identity)
    table = part_rows(
        decoded,
        chosen,
        shard.first_position + rows,
        rules,
        first_id=plan.first_sequence_id,
        iteration=plan.iteration,
    )
    counts = shard_counts(decoded, chosen, rules, too_short=len(sources) - len(rows))
    attempt = layout.new_attempt()
    part = write_part(store, iteration=plan.iteration, shard=shard.index, attempt=attempt, table=table)
    seconds = time.perf_counter() - started
    return commit(
        store,
        CommitRecord(
            iteration=plan.iteration, shard=shard.index, attempt=attempt, part=part, counts=counts, seconds=seconds
        ),
    )


def cut_sources(sources: Sequences, rules: Rules) -> Sequences:
    """Leave out the items at each source's end that the reading does not use."""
    cut = rules.source_items_left_out
    if cut == 0:
        return sources
    kept = np.maximum(sources.lengths - cut, 0)
    within = np.arange(len(sources.items)) - np.repeat(sources.offsets[:-1], sources.lengths)
    items = sources.items[within < np.repeat(kept, sources.lengths)]
    return Sequences(ids=sources.ids, offsets=offsets_of(kept), items=items)


def generate_locally(
    store: Store,
    dataset: PreparedDataset,
    config: Config,
    plan: ShardPlan,
    *,
    report: Callable[[CommitRecord], None] | None = None,
) -> None:
    """Compute every missing shard of a plan in this process, one after another; Ray is not needed."""
    missing = missing_shards(store, plan)
    if not missing:
        return
    generator = open_generator(store, dataset, config, plan)
    for shard in missing:
        record = run_shard(generator, shard)
        if report is not None:
            report(record)
