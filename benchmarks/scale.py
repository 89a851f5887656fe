"""How much does a whole generation cost, in time and memory? N users over V items on Ray actors of this machine.

    python benchmarks/scale.py --users 100000 --items 1000000 --trials 2 --actors 1 2 --json docs/results/scale.json

Data and model are planted, not trained: `data.synthetic`'s market, and a SASRec whose item vectors share their
cluster's direction and whose query stays near the context's last items. How much noise the vectors have is calibrated
with the real decoder, so that the check passes a share of the steps that trained models show. Everything after that is
an ordinary run: plan, Ray Data actors, commits, settling; each count of actors in a run directory and processes of its
own, all on the same data and weights, whose content must come out equal.

Times come from the commits: a shard began when its commit was written, less the seconds it took. `start_s` is from the
call to the first shard's beginning: actors, loading and packing the table, clusters if there are any. `generate_s` is
from an actor's own first shard to the last commit, as a mean over the actors, so that starting up is in none of it.
Memory is sampled from outside (`memory.py`): `peak_rss_bytes` is the sum over driver, actors and all of Ray.

With two or more `--items`, `projection` extends a cost model fitted to the rows. It is no measurement: its assumptions
stand beside it.
"""

import argparse
import json
import math
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from machine import environment
from memory import draw, in_fresh_process, own_peak, own_size

from rsir_scale.config import Config
from rsir_scale.config_file import apply_overrides, resolve
from rsir_scale.data.dataset import PreparedDataset, Sequences, open_dataset, read_sequences_file
from rsir_scale.data.synthetic import synthesize
from rsir_scale.generation.decode import decode
from rsir_scale.generation.pool import generate_with_ray
from rsir_scale.generation.rules import cluster_count, cut_sources, rules_of
from rsir_scale.loop.driver import Cluster
from rsir_scale.loop.preflight import needs
from rsir_scale.loop.stop import Stopper
from rsir_scale.models.base import Backbone
from rsir_scale.models.checkpoint import ModelDescription, build_backbone, weights_bytes
from rsir_scale.models.repository import TrainedModel, publish_model, publish_weights
from rsir_scale.models.sasrec import SASRec
from rsir_scale.randomness import Purpose, derive_seed
from rsir_scale.ranking.build import exact_search
from rsir_scale.runs import layout
from rsir_scale.runs.commits import read_commits
from rsir_scale.runs.open_run import is_run, open_run
from rsir_scale.runs.plan import ShardPlan, plan_iteration
from rsir_scale.runs.settle import settle
from rsir_scale.storage import Store, open_store

SEED = 2023
SAMPLE_USERS = 256
ACCEPTANCE = 0.2, 0.7
WANTED_ACCEPTANCE = 0.6  # a trained model on Toys has .60
CLUSTER_ITEMS = 40  # of data.synthetic; checked on the data
LEAST_NOISE, MOST_NOISE = 0.1, 4.0
NORM_SPREAD = 0.1  # of log norms: hardly any help to a scan by falling norm
HISTORY_WEIGHT = 0.5  # of the context's mean in a query, beside its last item
GIB = 2**30
ASSUMPTIONS = (
    "steps a user, acceptance and a step's own cost are those of the largest row; a scan's cost is linear in items",
    "a check that passes looks at every item, or every item of the probed clusters, and one that fails at none",
    "clusters grow with the root of the catalogue, and a step looks at all of their centres",
    "a GPU's scan time is given, by default an estimate for an H100 (2 to 5 ms for 1,024 queries and 1M items)",
    "a GPU scans the whole catalogue in every step, and nothing else of its work is counted",
    "shards are independent, so G GPUs take a G-th of the time; starting up, reading and settling are left out",
)
SHOWN = ("generate_s", "start_s", "settle_s", "steps_per_s", "acceptance_rate")


@dataclass(frozen=True)
class Job:
    """One row to measure; all paths absolute. Without `noise`, planting finds out how much it takes."""

    users: int
    items: int
    market: str
    run: str
    overrides: tuple[str, ...]
    noise: float | None = None

    def config(self) -> Config:
        """The settings of its run."""
        return resolve(apply_overrides({"data": {"path": self.market}}, self.overrides))


def main() -> None:
    """Measure, compare, print; what is measured is written at once, for a later row may fail."""
    arguments = _arguments()
    os.environ.pop("RAY_ADDRESS", None)  # what runs elsewhere cannot be sampled here
    found: dict[str, Any] = {"environment": environment(), "rows": [], "projection": []}
    panels = []
    for users, items in product(arguments.users, arguments.items):
        noise = None
        for mode, actors in product(arguments.fidelity, arguments.actors):
            job = replace(_job(arguments, users, items, mode, actors), noise=noise)
            row, samples = measure(job, keep=arguments.keep)
            noise = row["noise"]
            found["rows"].append(row)
            panels.append((f"{users:,} users x {items:,} items, {mode}, actors: {actors}", samples))
            report(row)
            _write(arguments.json, found)
    compare(found["rows"])
    found["projection"] = [entry for mode in arguments.fidelity if (entry := project(found["rows"], mode, arguments))]
    _write(arguments.json, found)
    if arguments.figure:
        arguments.figure.parent.mkdir(parents=True, exist_ok=True)
        draw(arguments.figure, panels)


def _write(path: Path, found: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=1) + "\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, nargs="+", default=[100_000])
    parser.add_argument("--items", type=int, nargs="+", default=[1_000_000], help="several give a projection")
    parser.add_argument("--trials", type=int, default=2)
    parser.add_argument("--actors", type=int, nargs="+", default=[1])
    parser.add_argument("--fidelity", nargs="+", default=["exact"], choices=["exact", "clustered", "auto", "off"])
    parser.add_argument("--work", type=Path, default=Path("runs/bench-scale"), help="keeps the market for another call")
    parser.add_argument("--set", action="append", default=[], dest="overrides", metavar="section.key=value")
    parser.add_argument("--keep", action="store_true", help="leave the run directories, weights included")
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--figure", type=Path, help="memory over time")
    parser.add_argument("--project-items", type=int, default=10_000_000)
    parser.add_argument("--project-users", type=int, default=100_000_000)
    parser.add_argument("--gpus", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument(
        "--gpu-ms-per-1024-per-1M-items",
        type=float,
        nargs="+",
        default=[2.0, 5.0],
        dest="gpu_ms",
        help="time of one scan on the GPU of the projection (default: 2 to 5, an estimate for an H100)",
    )
    return parser.parse_args()


def _job(arguments: argparse.Namespace, users: int, items: int, mode: str, actors: int) -> Job:
    work = arguments.work.resolve()
    market = work / f"market-{users}x{items}"
    if not (market / "dataset.json").exists():
        synthesize(users=users, items=items, out=market, seed=SEED)
    settings = (f"generation.trials_per_sequence={arguments.trials}", f"fidelity.mode={mode}")
    return Job(
        users=users,
        items=items,
        market=str(market),
        run=str(work / f"run-{users}x{items}-{mode}-{actors}"),
        overrides=(*settings, *arguments.overrides, f"generation.actors={actors}"),
    )


def measure(job: Job, *, keep: bool) -> tuple[dict[str, Any], list[dict[str, float]]]:
    """One row, and the samples of memory behind it."""
    _remove(job.run)
    planted, _ = in_fresh_process(plant, job)
    measured, sampler = in_fresh_process(generate, job)
    if not keep:
        _remove(job.run)
    table_bytes = int(planted["table_bytes"])
    actor_peak = sampler.peak_bytes.get("actors", 0)
    row = {
        **measured,
        "peak_rss_bytes": sampler.peak(),
        "memory_counted_as": sampler.counted_as,
        "actor_peak_bytes": actor_peak,
        "table_bytes": table_bytes,
        "actor_above_table_bytes": actor_peak - table_bytes,
        "ray_peak_bytes": sampler.peak("ray"),
        "preparation_peak_bytes": sampler.peak_bytes.get("preparation", 0),
        "noise": planted["noise"],
    }
    low, high = ACCEPTANCE
    if job.config().fidelity.mode != "off" and not low <= float(row["acceptance_rate"]) <= high:
        raise SystemExit(f"the check passed {row['acceptance_rate']:.3f} of the steps, not {low} to {high}: no result")
    return row, sampler.samples


def _remove(run: str) -> None:
    if is_run(open_store(run)):
        shutil.rmtree(run)


# --- the planted model ---


def plant(job: Job) -> dict[str, Any]:
    """Begin the run and publish a model whose check passes `WANTED_ACCEPTANCE` of the steps; returns its facts."""
    config, dataset = job.config(), open_dataset(job.market)
    sources = _sample(dataset)
    cluster_V = clusters_of(job.items, SEED)
    _check_clusters(sources, cluster_V)
    description = ModelDescription(model=config.model, item_count=dataset.meta.items, max_length=config.data.max_length)
    backbone = build_backbone(description, seed=config.seed).eval()
    noise = job.noise or calibrate(backbone, cluster_V, sources, config, dataset)
    plant_weights(backbone, cluster_V, noise=noise)
    store = open_store(job.run)
    with open_run(store, config, dataset):
        entry = publish_weights(store, 0, weights_bytes(backbone), attempt=layout.new_attempt())
        publish_model(
            store,
            0,
            TrainedModel(
                description=description, weights=entry, updates=0, best_update=0, validation_score=0.0, train_s=0.0
            ),
        )
    vectors = backbone.item_vectors()
    return {"noise": noise, "table_bytes": vectors.numel() * vectors.element_size()}


def _sample(dataset: PreparedDataset) -> Sequences:
    file = dataset.training_files()[0]
    return read_sequences_file(dataset.path / file.path, rows=(0, min(SAMPLE_USERS, file.rows)))


def clusters_of(items: int, seed: int) -> npt.NDArray[np.int64]:
    """The planted cluster of each item of `data.synthetic`'s market, item 1 first."""
    factor = derive_seed(seed, Purpose.SYNTHESIZE, -1) % items
    while math.gcd(factor, items) != 1:
        factor += 1
    slot_V = np.arange(items, dtype=np.int64) * pow(factor, -1, items) % items
    return slot_V // CLUSTER_ITEMS


def _check_clusters(sources: Sequences, cluster_V: npt.NDArray[np.int64]) -> None:
    cluster = cluster_V[sources.items - 1]
    pairs = np.delete(cluster[1:] == cluster[:-1], sources.offsets[1:-1] - 1)
    if pairs.mean() < 0.5:
        raise SystemExit(
            f"only {pairs.mean():.2f} of neighbouring items share a cluster: data.synthetic's clusters are no longer "
            "those that this benchmark plants"
        )


def calibrate(
    backbone: Backbone,
    cluster_V: npt.NDArray[np.int64],
    sources: Sequences,
    config: Config,
    dataset: PreparedDataset,
) -> float:
    """Return the noise that `WANTED_ACCEPTANCE` of the exact check takes, as near as it can be had."""
    exact = config.fidelity.model_copy(update={"mode": "exact"})
    rules = rules_of(config.model_copy(update={"fidelity": exact}), dataset)
    usable = cut_sources(sources, rules)
    usable = usable.select(np.flatnonzero(usable.lengths >= 2))
    few = replace(rules, trials_per_sequence=1)
    low, high = LEAST_NOISE, MOST_NOISE
    for _ in range(8):
        noise = math.sqrt(low * high)
        plant_weights(backbone, cluster_V, noise=noise)
        search = exact_search(backbone.item_vectors())
        tally = decode(backbone, search, usable, few, identity=(config.seed, 0)).tally
        found = tally.accepted_steps / max(1, tally.steps)
        if abs(found - WANTED_ACCEPTANCE) < 0.02:
            break
        low, high = (noise, high) if found > WANTED_ACCEPTANCE else (low, noise)
    if not ACCEPTANCE[0] <= found <= ACCEPTANCE[1]:
        raise SystemExit(f"no noise brings the acceptance to {WANTED_ACCEPTANCE}: {noise:.2f} gives {found:.3f}")
    print(f"planted: noise {noise:.3f}, acceptance {found:.3f} on {len(usable)} users", flush=True)
    return noise


@torch.no_grad()
def plant_weights(backbone: Backbone, cluster_V: npt.NDArray[np.int64], *, noise: float) -> None:
    """Set all weights that decide: a query is the last item plus a share of the context's mean, both normalised.

    Args:
        backbone: a SASRec.
        cluster_V: cluster of each item, item 1 first.
        noise: length of an item's own direction beside its cluster's, which has length 1.
    """
    assert isinstance(backbone, SASRec)  # noqa: S101
    draws = torch.Generator().manual_seed(SEED)
    width = backbone.width
    center_CD = torch.randn((int(cluster_V.max()) + 1, width), generator=draws)
    item_VD = torch.randn((len(cluster_V), width), generator=draws).mul_(noise)
    item_VD += center_CD[torch.from_numpy(cluster_V)]
    length_V = torch.randn(len(cluster_V), generator=draws).mul_(NORM_SPREAD).exp_()
    item_VD *= (length_V / item_VD.norm(dim=1))[:, None]
    backbone.items.weight[1:] = item_VD
    for number, block in enumerate(backbone.blocks):
        for layer in (block.attention.project_in, block.attention.project_out, block.contract):
            layer.weight.zero_()
            layer.bias.zero_()
        if number == 0:
            # Equal attention to all positions, and their values as they are.
            block.attention.project_in.weight[2 * width :] = torch.eye(width)
            block.attention.project_out.weight[:] = HISTORY_WEIGHT * torch.eye(width)


# --- the generation ---


def generate(job: Job) -> dict[str, Any]:
    """Generate the planted run's first iteration as a run does, and say what it took; this process is the driver."""
    config, dataset, store = job.config(), open_dataset(job.market), open_store(job.run)
    torch.set_num_threads(1)
    with Stopper("stopped") as stopper, open_run(store, config, dataset):
        cluster = Cluster(config, stopper)
        cluster.connect()
        cluster.wait_for(needs(config)[1])
        plan = plan_iteration(store, dataset, 0, config.generation)
        sizes: list[int] = []
        called = time.time()
        generate_with_ray(
            store, job.market, 0, plan.shards, config.generation, lambda *_: _note(sizes, len(plan.shards))
        )
        wall_s = time.time() - called
        peak = own_peak()
        started = time.perf_counter()
        written, _ = settle(
            store,
            dataset,
            plan,
            attempt=layout.new_attempt(),
            against_existing=config.generation.reading == "paper",
        )
        settle_s = time.perf_counter() - started
        cluster.close()
    counters = written.counters
    clustered = any(name.startswith("clustered") for name in written.searches)
    times = _times(store, plan, called, config.generation.actors)
    return {
        "users": job.users,
        "items": job.items,
        "actors": config.generation.actors,
        "fidelity": config.fidelity.mode,
        "rank_threshold": config.fidelity.rank_threshold,
        "search": ", ".join(written.searches),
        "shards": len(plan.shards),
        "trials": counters["trials"],
        "sequences": written.rows,
        "steps": counters["steps"],
        "acceptance_rate": counters["accepted_steps"] / max(1, counters["steps"]),
        **times,
        "wall_s": wall_s,
        "settle_s": settle_s,
        "steps_per_s": counters["steps"] / times["generate_s"],
        "content_sha256": written.content_sha256,
        "driver_peak_bytes": peak,
        "driver_growth_bytes": max(sizes) - sizes[0],
        "driver_settled_peak_bytes": own_peak(),
        "clusters": cluster_count(config.fidelity, job.items) if clustered else 0,
        "nprobe": config.fidelity.nprobe if clustered else 0,
    }


def _note(sizes: list[int], shards: int) -> None:
    """Keep the driver's memory after each shard, and print now and then."""
    sizes.append(own_size())
    if len(sizes) * 10 // shards > (len(sizes) - 1) * 10 // shards:
        print(f"{len(sizes)}/{shards} shards, driver {sizes[-1] / GIB:.3f} GiB", flush=True)


def _times(store: Store, plan: ShardPlan, called: float, actors: int) -> dict[str, float]:
    """Start-up and generation, from the commits; seconds. The first shards of k actors are the k that began first."""
    records = read_commits(store, plan)
    ends = [store.local_path(layout.commit(0, record.shard)).stat().st_mtime for record in records]
    begins = sorted(end - record.seconds for end, record in zip(ends, records, strict=True))[:actors]
    return {
        "start_s": begins[0] - called,
        "last_start_s": begins[-1] - called,
        "generate_s": max(ends) - sum(begins) / len(begins),
        "busy_s": sum(record.seconds for record in records),
    }


# --- what it says ---


def report(row: dict[str, Any]) -> None:
    """Print one row."""
    figures = "  ".join(f"{name} {row[name]:.4g}" for name in SHOWN)
    print(f"{row['users']:,} x {row['items']:,} {row['search']} actors {row['actors']}: {figures}")
    memory = ("peak_rss", "driver_peak", "driver_growth", "actor_peak", "actor_above_table")
    print("  GiB: " + "  ".join(f"{name} {row[name + '_bytes'] / GIB:.3f}" for name in memory), flush=True)


def compare(rows: Sequence[dict[str, Any]]) -> None:
    """Print how much faster more actors are on the same work. Different content ends the benchmark."""
    for row in rows:
        same = ("users", "items", "fidelity")
        base = next(other for other in rows if all(other[name] == row[name] for name in same))
        if base is row:
            continue
        if base["content_sha256"] != row["content_sha256"]:
            raise SystemExit(f"{row['actors']} actors wrote other content than {base['actors']}: no result")
        row["speedup"] = base["generate_s"] / row["generate_s"]
        print(
            f"{row['items']:,} items, {row['fidelity']}: {row['actors']} actors against {base['actors']}: "
            f"{row['speedup']:.2f}x, content equal ({row['content_sha256'][:12]})"
        )


def _scanned(row: dict[str, Any], items: int) -> float:
    """Items that a step of a row looks at, were the catalogue of `items`: all that it may where it passes, else few."""
    if not row["clusters"]:
        return float(row["acceptance_rate"] * items)
    clusters = row["clusters"] * math.sqrt(items / row["items"])
    return float(clusters + row["acceptance_rate"] * items * min(1.0, row["nprobe"] / clusters))


def project(all_rows: Sequence[dict[str, Any]], mode: str, arguments: argparse.Namespace) -> dict[str, Any] | None:
    """Fit an actor's seconds = steps (a + b · items scanned a step) to a mode's rows, and extend it to the target."""
    rows = [row for row in all_rows if row["fidelity"] == mode]
    if len({row["items"] for row in rows}) < 2:
        print(f"no projection of {mode}: it takes two or more --items")
        return None
    per_step = np.array([row["generate_s"] * row["actors"] / row["steps"] for row in rows])
    design = np.array([[1.0, _scanned(row, row["items"])] for row in rows])
    a, b = np.linalg.lstsq(design / per_step[:, None], np.ones_like(per_step), rcond=None)[0]
    largest = max(rows, key=lambda row: (row["items"], row["users"]))
    users, items = arguments.project_users, arguments.project_items
    steps = users * largest["steps"] / largest["users"]
    scan_s = {ms: steps / 1024 * ms / 1000 * items / 1e6 for ms in arguments.gpu_ms}
    found = {
        "is": "a projection, not a measurement",
        "fidelity": mode,
        "users": users,
        "items": items,
        "steps": steps,
        "fit": {
            "model": "seconds of an actor = steps * (a + b * items scanned a step)",
            "a_s_per_step": float(a),
            "b_s_per_item": float(b),
            "points": len(rows),
            "worst_relative_error": float(np.abs(design @ [a, b] / per_step - 1).max()),
        },
        "cpu_actor_hours": float(steps * (a + b * _scanned(largest, items)) / 3600),
        "gpu_hours_of_exact_scans": [
            {"gpus": gpus, "ms_per_1024_per_1M_items": ms, "hours": seconds / 3600 / gpus}
            for gpus in arguments.gpus
            for ms, seconds in scan_s.items()
        ],
        "assumptions": ASSUMPTIONS,
    }
    report_projection(found)
    return found


def report_projection(found: dict[str, Any]) -> None:
    """Print a projection as one."""
    fit = found["fit"]
    print(
        f"PROJECTION (not measured), {found['fidelity']}, to {found['users']:,} users x {found['items']:,} items, "
        f"{found['steps']:.3g} steps: {fit['a_s_per_step'] * 1e6:.1f} us + "
        f"{fit['b_s_per_item'] * 1e12:.0f} us per 1M items scanned a step "
        f"({fit['points']} points, error up to {fit['worst_relative_error']:.0%}): "
        f"{found['cpu_actor_hours']:,.0f} actor hours on this CPU"
    )
    for way in found["gpu_hours_of_exact_scans"]:
        print(
            f"  {way['gpus']} GPUs at an assumed {way['ms_per_1024_per_1M_items']:g} ms per 1,024 queries and 1M: "
            f"{way['hours']:,.1f} hours of scanning"
        )
    for assumption in found["assumptions"]:
        print(f"  assumes: {assumption}")


if __name__ == "__main__":
    main()
