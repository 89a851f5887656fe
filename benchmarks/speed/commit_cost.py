"""What does safety cost? The share of generation that goes into the commit protocol, on a local disk and without Ray.

    OMP_NUM_THREADS=1 python -m benchmarks.speed.commit_cost --config configs/toys.yaml \\
        --json docs/results/commit-cost.json

Theta_0 is trained and evaluated once, for a few epochs; then each repeat copies the run and lets theta_0 write. The
clock of the whole runs from the plan to the manifest, in this process. Counted as the protocol is all that a plain loop
without commits could leave out, and what it could not leave out but would do at once:

    plan       the shards, and storing them
    write      each part: Parquet with compression, its hash, and bringing file and folder to the disk
    commit     each record, created only if absent, and looking whether one is there
    settle     reading the commits again, duplicates, the hash of all rows
    manifest   creating it

`owners` and `rows` are shown beside them and are no part of it: counting guesses of held-out items, and laying out rows
with their evidence."""

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

from benchmarks.record.machine import pin_threads
from benchmarks.record.result_file import Row, write_rows
from rsir_scale.augmenters.rsir import augmenter as rsir
from rsir_scale.config.file import load_config
from rsir_scale.config.settings import Config
from rsir_scale.data.dataset import PreparedDataset, open_dataset
from rsir_scale.generation import shard
from rsir_scale.loop import recursion
from rsir_scale.loop.local import LocalPhases
from rsir_scale.runs.manifest import read_manifest
from rsir_scale.runs.open_run import HeldRun, open_run
from rsir_scale.steps import silent
from rsir_scale.storage.opening import open_store

PROTOCOL: dict[str, list[tuple[ModuleType, str]]] = {
    "plan": [(recursion, "plan_iteration")],
    "write": [(shard, "write_part"), (shard, "write_errors")],
    "commit": [(shard, "missing_shards"), (shard, "read_commit"), (shard, "commit")],
    "settle": [(recursion, "settle")],
    "manifest": [(recursion, "write_link")],
}
BESIDE: dict[str, list[tuple[ModuleType, str]]] = {
    "rows": [(rsir, "written_rows"), (shard, "part_table")],
    "owners": [(recursion, "held_out_hits")],
    "decode": [(rsir, "decode")],
}
_MOST = 0.03


class Enough(Exception):
    """The iteration that is measured is closed."""


class Written(LocalPhases):
    """Phases that train theta_0 and no other."""

    def train(self, run: HeldRun, iteration: int) -> None:
        """See `Phases.train`."""
        if iteration:
            raise Enough
        super().train(run, iteration)


class Clocks:
    """Seconds spent in functions, by the name under which they are added up."""

    def __init__(self, watched: dict[str, list[tuple[ModuleType, str]]]) -> None:
        self.seconds = dict.fromkeys(watched, 0.0)
        self.began, self.ended = 0.0, 0.0
        self._originals = [
            (module, name, getattr(module, name)) for found in watched.values() for module, name in found
        ]
        self._watched = watched

    def __enter__(self) -> "Clocks":
        for kind, found in self._watched.items():
            for module, name in found:
                setattr(module, name, self._clocked(kind, getattr(module, name)))
        return self

    def __exit__(self, *_: object) -> None:
        for module, name, original in self._originals:
            setattr(module, name, original)

    def _clocked(self, kind: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **rest: Any) -> Any:
            started = time.perf_counter()
            self.began = self.began or started
            try:
                return function(*args, **rest)
            finally:
                self.ended = time.perf_counter()
                self.seconds[kind] += self.ended - started

        return call


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="configs/toys.yaml")
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--work", type=Path, help="a folder on the disk that is measured")
    parser.add_argument("--json", type=Path, required=True)
    arguments = parser.parse_args()
    pin_threads(1)
    config = load_config(arguments.config, ["training.max_epochs=2", *arguments.overrides, "loop.iterations=1"])
    dataset = open_dataset(config.data.path)
    with tempfile.TemporaryDirectory(prefix="rsir-commit-cost-", dir=arguments.work) as work:
        trained = Path(work, "trained")
        train(trained, config, dataset)
        rows = [write(trained, Path(work, f"repeat-{number}"), config, dataset) for number in range(arguments.repeats)]
    median: Row = {name: statistics.median(row[name] for row in rows) for name in rows[0]}
    write_rows(arguments.json, rows, median=median, settings=arguments.overrides, config=arguments.config)
    print({name: round(value, 4) for name, value in median.items()})
    print(f"the commit protocol takes {median['share']:.2%} of generation; {_MOST:.0%} is what it may take")


def train(folder: Path, config: Config, dataset: PreparedDataset) -> None:
    """Leave a run with a trained and evaluated theta_0, and no plan."""
    with open_run(open_store(folder), config, dataset) as run:
        recursion._train_and_evaluate(run, Written(), 0, silent)


def write(trained: Path, folder: Path, config: Config, dataset: PreparedDataset) -> Row:
    """Let theta_0 write in a copy of the run; where the seconds went."""
    shutil.copytree(trained, folder)
    store = open_store(folder)
    with open_run(store, config, dataset) as run, Clocks(PROTOCOL | BESIDE) as clocks, suppress(Enough):
        recursion.run_recursion(run, Written())
    whole = clocks.ended - clocks.began
    protocol = sum(clocks.seconds[kind] for kind in PROTOCOL)
    written = read_manifest(store, 0).generation
    if written is None or not written.rows:
        raise SystemExit("theta_0 wrote nothing: nothing is measured")
    shutil.rmtree(folder)
    return {
        "share": protocol / whole,
        "generation_s": whole,
        "protocol_s": protocol,
        **{f"{kind}_s": seconds for kind, seconds in clocks.seconds.items()},
        "shards": written.parts,
        "rows": written.rows,
        "dropped": written.dropped,
        "rows_per_s": written.rows / whole,
    }


if __name__ == "__main__":
    main()
