"""A small dataset and shards with known rows, for the tests of the run directory."""

from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import pyarrow as pa

from rsir_scale.config.settings import Config
from rsir_scale.data.dataset import PreparedDataset, open_dataset
from rsir_scale.data.sequences import offsets_of, to_list_array
from rsir_scale.data.synthetic import synthesize
from rsir_scale.randomness import content_hashes
from rsir_scale.runs.commits import CommitRecord, commit, write_part
from rsir_scale.runs.lease import Lease
from rsir_scale.runs.manifest import Generation, GenerationLink, Manifest, ModelLink, read_manifest, write_link
from rsir_scale.runs.plan import Shard, ShardPlan, plan_iteration
from rsir_scale.runs.records import FileEntry
from rsir_scale.runs.run import Run
from rsir_scale.runs.settle import SettleRules, settle
from rsir_scale.storage.base import Store

USERS, TRIALS, SHARD_SOURCES = 23, 2, 5
ZERO = "0" * 64
# One synthetic row: sequence_id, source_sequence_id, trial, items.
Row = tuple[int, int, int, tuple[int, ...]]


@cache
def dataset() -> PreparedDataset:
    """A planted market of 23 users and 60 items, in files of 7 users; made once for all tests."""
    folder = Path(mkdtemp(prefix="rsir-test-")) / "market"
    synthesize(users=USERS, items=60, out=folder, seed=1, shard_users=7)
    return open_dataset(folder)


def config(**sections: dict[str, object]) -> Config:
    """Settings of a run on that market."""
    base: dict[str, dict[str, object]] = {
        "data": {"path": str(dataset().path)},
        "generation": {"trials_per_sequence": TRIALS, "shard_sources": SHARD_SOURCES},
    }
    return Config.model_validate(base | sections)


def run_in(store: Store, **generation: object) -> Run:
    """A run on that market; `generation` are settings of that section which differ."""
    section = {"trials_per_sequence": TRIALS, "shard_sources": SHARD_SOURCES} | generation
    return Run(store, dataset(), config(generation=section))


def planned(store: Store, iteration: int = 0, **generation: object) -> ShardPlan:
    """The stored plan of an iteration."""
    run = run_in(store, **generation)
    return plan_iteration(run, iteration, trials=run.config.generation.trials_per_sequence)


def settled(
    store: Store,
    plan: ShardPlan,
    *,
    attempt: str = "s",
    against_existing: bool = False,
    replaces_source: bool = False,
) -> tuple[Generation, list[FileEntry]]:
    """The summary and files of a plan whose shards are committed."""
    rules = SettleRules("of_all" if against_existing else "of_new", replaces_source=replaces_source)
    return settle(run_in(store), plan, rules, attempt=attempt)


def table(rows: Sequence[Row], *, first_targets: Sequence[int] = ()) -> pa.Table:
    """A part's table, with the columns that this room reads; `first_targets` are all 1 unless given."""
    offsets = offsets_of([len(row[3]) for row in rows])
    items = np.array([item for row in rows for item in row[3]], dtype=np.int32)
    hashes = content_hashes(offsets, items)
    return pa.table(
        {
            "sequence_id": pa.array([row[0] for row in rows], pa.int64()),
            "items": to_list_array(offsets, items),
            "source_sequence_id": pa.array([row[1] for row in rows], pa.int64()),
            "trial": pa.array([row[2] for row in rows], pa.int32()),
            "first_target": pa.array(first_targets or [1] * len(rows), pa.int32()),
            "content_hash": pa.array([value.tobytes() for value in hashes], pa.binary(16)),
        }
    )


def rows_of(plan: ShardPlan, shard: Shard, sources: int | None = None) -> list[Row]:
    """What the pretended generator writes for a shard: a pure function of the plan, some content twice."""
    rows = []
    for source in range(shard.rows if sources is None else sources):
        position = shard.first_position + source
        for trial in range(plan.trials_per_sequence):
            if (position + trial) % 3:
                items = (1 + position % 4, 2 + trial, 1 + plan.iteration)
                rows.append((plan.sequence_id(shard, source, trial), position, trial, items))
    return rows


def record_of(plan: ShardPlan, shard: Shard, attempt: str, part: FileEntry, sources: int | None = None) -> CommitRecord:
    """A record whose counters add up."""
    trials, kept = (shard.rows if sources is None else sources) * plan.trials_per_sequence, part.rows or 0
    counts = {"trials": trials, "rows_kept": kept, "stop_rejected": trials - kept, "steps": trials}
    return CommitRecord(
        iteration=plan.iteration, shard=shard.index, attempt=attempt, part=part, counts=counts, seconds=0.1
    )


def commit_shards(
    store: Store,
    plan: ShardPlan,
    attempt: str,
    shards: Iterable[Shard],
    sources: dict[int, int] | None = None,
    **computed_by: str,
) -> None:
    """Write and commit shards.

    Args:
        sources: how many of a shard's rows are not dropped, where not all.
        computed_by: encoder, search and processor of the records.
    """
    for shard in shards:
        kept = None if sources is None else sources[shard.index]
        part = write_part(
            store, iteration=plan.iteration, shard=shard.index, attempt=attempt, table=table(rows_of(plan, shard, kept))
        )
        commit(store, record_of(plan, shard, attempt, part, kept).model_copy(update=computed_by))


def finish(
    store: Store,
    lease: Lease,
    iteration: int,
    *,
    generation: Generation | None = None,
    files: Sequence[FileEntry] = (),
    metrics: dict[str, float] | None = None,
) -> Manifest:
    """Write an iteration's links: the model's, and around what was settled, if anything was, the generation's."""
    model = ModelLink(
        iteration=iteration,
        config_fingerprint=ZERO,
        settings={},
        explicit=(),
        dataset_fingerprint=dataset().meta.fingerprint,
        files=(),
        metrics=metrics or {},
        timings={"train_s": 1.0},
    )
    write_link(store, model, lease)
    if generation is not None:
        close(store, lease, iteration, generation, files)
    return read_manifest(store, iteration)


def close(
    store: Store, lease: Lease, iteration: int, generation: Generation, files: Sequence[FileEntry], **more: Any
) -> None:
    """Write the link of a generation; `more` are fields of it."""
    timings = {"generate_s": 2.0}
    link = GenerationLink(iteration=iteration, files=tuple(files), generation=generation, timings=timings, **more)
    write_link(store, link, lease)


def generate(store: Store, lease: Lease, iteration: int = 0, *, attempt: str = "a", **settings: object) -> Manifest:
    """Plan, commit, settle and finish iteration 0 (or one from real sources only)."""
    plan = planned(store, iteration, **settings)
    commit_shards(store, plan, attempt, plan.shards)
    generation, files = settled(store, plan, attempt=attempt)
    return finish(store, lease, iteration, generation=generation, files=files)
