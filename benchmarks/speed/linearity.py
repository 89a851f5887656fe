"""Does generation take time in proportion to sources, trials and accepted steps, as the paper says (Sec. 3.3, App. D)?

    python -m benchmarks.speed.linearity --run runs/toys --json docs/results/linearity.json

The run is that of `generation.py`: one with a trained theta_0, or one that is trained there. One thing is varied at a
time: N by taking every so-many-th source, m, and L_e, the steps that a trial takes, by the rank threshold. `exponent`
is the slope of log seconds over log x: 1 is in proportion, less is better. The engine encodes and scans a context that
several trials share once, so it may grow more slowly than m; `contexts_per_step` shows by how much. Runs are
interleaved, and medians are quoted.
"""

import argparse
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.record.machine import pin_threads
from benchmarks.record.result_file import Row, write_rows
from benchmarks.speed.generation import IDENTITY, Clocked, ClockedTree, Workload, prepare
from rsir_scale.augmenters.rsir.contexts import ContextTree
from rsir_scale.augmenters.rsir.decode import decode
from rsir_scale.ranking.base import ItemSearch
from rsir_scale.ranking.build import exact_search

SHARES = (0.125, 0.25, 0.5, 1.0)
TRIALS = (1, 2, 5, 10, 20)
THRESHOLDS = (1, 3, 10, 30, 100)
_AXES = ("sources", "trials", "steps_per_trial")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, default=Path("runs/bench-generation"))
    parser.add_argument("--config", default="configs/toys.yaml", help="of the run, where it has to be trained first")
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    parser.add_argument("--sources", type=int, default=4000, help="the most that are taken")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    pin_threads(arguments.threads)
    workload = prepare(arguments.run, arguments.config, arguments.overrides).sample(arguments.sources)
    rows = measure(workload, repeats=arguments.repeats)
    fits = [fit(rows, axis) for axis in _AXES]
    for row in [*rows, *fits]:
        print(
            "  ".join(
                f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in row.items()
            ),
            flush=True,
        )
    if arguments.json:
        write_rows(arguments.json, rows, fits=fits)


def variants(workload: Workload) -> Iterator[tuple[str, Workload]]:
    """What is measured, each by the name of what it varies."""
    for share in SHARES:
        yield "sources", workload.sample(max(1, round(share * len(workload.sources))))
    for trials in TRIALS:
        yield "trials", replace(workload, rules=replace(workload.rules, trials_per_sequence=trials))
    for threshold in THRESHOLDS:
        yield "steps_per_trial", replace(workload, rules=replace(workload.rules, rank_threshold=threshold))


def measure(workload: Workload, *, repeats: int) -> list[Row]:
    """One row a variant, with medians over interleaved repeats."""
    search = exact_search(workload.backbone.item_vectors())
    wanted = list(variants(workload))
    runs = [[_timed(work, search) for _, work in wanted] for _ in range(repeats)]
    rows: list[Row] = []
    for (axis, _), same in zip(wanted, zip(*runs, strict=True), strict=True):
        rows.append({"axis": axis, **same[0], "seconds": statistics.median(run["seconds"] for run in same)})
    return rows


def fit(rows: Sequence[Row], axis: str) -> Row:
    """The exponent of seconds in what was varied, and how much of their variation a straight line explains."""
    own = [row for row in rows if row["axis"] == axis]
    x, seconds = (np.array([row[name] for row in own], dtype=np.float64) for name in (axis, "seconds"))
    line = np.polyval(np.polyfit(x, seconds, 1), x)
    rest, spread = float(((seconds - line) ** 2).sum()), float(((seconds - seconds.mean()) ** 2).sum())
    return {
        "axis": axis,
        "exponent": float(np.polyfit(np.log(x), np.log(seconds), 1)[0]),
        "r2": 1.0 - rest / spread if spread > 0 else 1.0,
    }


def _timed(workload: Workload, search: ItemSearch) -> Row:
    clocked = Clocked(search)
    tree = ClockedTree(ContextTree(workload.backbone, longest=int(workload.sources.lengths.max())))
    started = time.perf_counter()
    decode(workload.backbone, clocked, workload.sources, workload.rules, identity=IDENTITY, tree=tree)
    seconds = time.perf_counter() - started
    trials = len(workload.sources) * workload.rules.trials_per_sequence
    return {
        "sources": len(workload.sources),
        "trials": workload.rules.trials_per_sequence,
        "rank_threshold": workload.rules.rank_threshold,
        "steps": tree.steps,
        "steps_per_trial": tree.steps / trials,
        "contexts_per_step": clocked.contexts / tree.steps,
        "seconds": seconds,
    }


if __name__ == "__main__":
    main()
