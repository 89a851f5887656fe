"""How much does a whole generation cost, in time and memory? N users over V items on Ray actors of this machine.

    python -m benchmarks.speed.scale --users 100000 --items 1000000 --trials 2 --actors 1 2 \\
        --json docs/results/scale.json

Data and model are planted, not trained (`planted_run.py`), so that the check passes a share of the steps that trained
models show. Everything after that is an ordinary run: plan, Ray Data actors, commits, settling; each count of actors in
a run directory and processes of its own, all on the same data and weights, whose content must come out equal.

Times come from the commits: a shard began when its commit was written, less the seconds it took. `start_s` is from the
call to the first shard's beginning: actors, loading and packing the table, clusters if there are any. `generate_s` is
from an actor's own first shard to the last commit, as a mean over the actors, so that starting up is in none of it.
Memory is sampled from outside (`memory.py`): `peak_rss_bytes` is the sum over driver, actors and all of Ray.

With two or more `--items`, `projection` extends a cost model fitted to the rows (`projection.py`).
"""

import argparse
import json
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import torch

from benchmarks.record.machine import environment
from benchmarks.record.memory import draw, in_fresh_process, own_peak, own_size
from benchmarks.speed.planted_run import ACCEPTANCE, SEED, Job, plant
from benchmarks.speed.projection import project
from rsir_scale.augmenters.opening import augmenter_of
from rsir_scale.augmenters.rsir.rules import cluster_count
from rsir_scale.data.dataset import open_dataset
from rsir_scale.data.synthetic import synthesize
from rsir_scale.generation.pool import generate_with_ray
from rsir_scale.loop.driver import Cluster
from rsir_scale.loop.preflight import local_nodes, needs
from rsir_scale.loop.stop import Stopper
from rsir_scale.runs import layout
from rsir_scale.runs.begun import is_run
from rsir_scale.runs.commits import read_commits
from rsir_scale.runs.open_run import open_run
from rsir_scale.runs.plan import ShardPlan, plan_iteration
from rsir_scale.runs.settle import settle
from rsir_scale.storage.base import Store
from rsir_scale.storage.opening import open_store

GIB = 2**30
SHOWN = ("generate_s", "start_s", "settle_s", "steps_per_s", "acceptance_rate")


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


def generate(job: Job) -> dict[str, Any]:
    """Generate the planted run's first iteration as a run does, and say what it took; this process is the driver."""
    config, dataset, store = job.config(), open_dataset(job.market), open_store(job.run)
    torch.set_num_threads(1)
    with Stopper("stopped") as stopper, open_run(store, config, dataset) as run:
        cluster = Cluster(local_nodes(config), stopper)
        cluster.connect()
        cluster.wait_for(needs(config)[1])
        augmenter = augmenter_of(run, 0)
        plan = plan_iteration(run, 0, trials=augmenter.trials)
        sizes: list[int] = []
        called = time.time()
        generate_with_ray(run, 0, plan.shards, lambda *_: _note(sizes, len(plan.shards)))
        wall_s = time.time() - called
        peak = own_peak()
        started = time.perf_counter()
        written, _ = settle(run, plan, augmenter.settle_rules, attempt=layout.new_attempt())
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
    ends = [Path(store.root, layout.commit(0, record.shard)).stat().st_mtime for record in records]
    begins = sorted(end - record.seconds for end, record in zip(ends, records, strict=True))[:actors]
    return {
        "start_s": begins[0] - called,
        "last_start_s": begins[-1] - called,
        "generate_s": max(ends) - sum(begins) / len(begins),
        "busy_s": sum(record.seconds for record in records),
    }


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


if __name__ == "__main__":
    main()
