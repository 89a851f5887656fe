"""How fast are synthetic sequences written? The engine against two plain ways to do the same, on one trained model.

    python -m benchmarks.speed.generation --run runs/toys --json docs/results/generation.json

`--run` names a run with a trained theta_0; where there is none, one is trained there on `--config`, or, without its
data, on a synthetic market of Toys' shape. The three ways give the same sequences, which is checked before the clock
starts:

    literal   one trial at a time in torch, float32: one encode of the unpadded context and one full scoring a step
    batched   the decoder with every row's context encoded anew, trimmed to the longest, and one full scoring a step
    engine    the decoder with its tree of contexts and the fastest exact search

A step is one context of one trial: the start and every item proposed after it, whoever else is there as well;
`contexts_per_step` says how many had to be encoded and searched for. Runs are interleaved; medians are quoted.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.record.machine import environment, pin_threads
from benchmarks.speed.plain import EachAnew, FullScan, LiteralGenerator
from rsir_scale.augmenters.part import part_table
from rsir_scale.augmenters.rsir.contexts import Contexts, ContextTree, Tree
from rsir_scale.augmenters.rsir.decode import Decoded, decode
from rsir_scale.augmenters.rsir.rows import EVIDENCE, keeps, written_rows
from rsir_scale.augmenters.rsir.rules import Rules, cut_sources, rules_of
from rsir_scale.augmenters.rsir.state import DecodingRows
from rsir_scale.config.file import load_config
from rsir_scale.data.dataset import Sequences, open_dataset
from rsir_scale.data.synthetic import synthesize
from rsir_scale.models.base import Backbone
from rsir_scale.models.repository import load_trained
from rsir_scale.ranking.base import ItemSearch, SearchQuery, SearchResult
from rsir_scale.ranking.build import exact_search
from rsir_scale.runs.begun import stored_run
from rsir_scale.runs.commits import write_part
from rsir_scale.runs.open_run import open_run
from rsir_scale.runs.trained import has_model
from rsir_scale.storage.opening import open_store
from rsir_scale.training.iteration import train_iteration
from rsir_scale.training.worker import Worker

TOYS_USERS, TOYS_ITEMS = 19_412, 11_924
IDENTITY = (2023, 0)


@dataclass(frozen=True)
class Workload:
    """What is generated: sources of one model under one set of rules."""

    backbone: Backbone
    sources: Sequences
    rules: Rules

    def sample(self, count: int) -> "Workload":
        """Every so-many-th source, so that all lengths are there."""
        rows = np.linspace(0, len(self.sources) - 1, min(count, len(self.sources))).astype(np.int64)
        return replace(self, sources=self.sources.select(np.unique(rows)))


class Clocked:
    """A search that adds up the contexts it was asked about and the time it took."""

    def __init__(self, search: ItemSearch) -> None:
        self.name = search.name
        self.seconds, self.contexts = 0.0, 0
        self._search = search

    def search(self, query: SearchQuery, *, rank_threshold: int, top_candidates: int) -> SearchResult:
        """Answer and count."""
        started = time.perf_counter()
        result = self._search.search(query, rank_threshold=rank_threshold, top_candidates=top_candidates)
        self.seconds += time.perf_counter() - started
        self.contexts += len(query.query_BD)
        return result


class ClockedTree:
    """A tree of contexts that adds up the steps taken and the time it took to encode."""

    def __init__(self, tree: Tree) -> None:
        self.name = tree.name
        self.seconds, self.steps = 0.0, 0
        self._tree = tree

    def grow(self, rows: DecodingRows) -> tuple[DecodingRows, Contexts]:
        """Grow and count."""
        started = time.perf_counter()
        grown = self._tree.grow(rows)
        self.seconds += time.perf_counter() - started
        self.steps += len(rows)
        return grown


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, default=Path("runs/bench-generation"))
    parser.add_argument("--config", default="configs/toys.yaml", help="of the run, where it has to be trained first")
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--literal-sources", type=int, default=150)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    pin_threads(arguments.threads)
    workload = prepare(arguments.run, arguments.config, arguments.overrides)
    check(workload.sample(arguments.literal_sources))
    rows = measure(workload, arguments)
    report(rows)
    if arguments.json:
        arguments.json.write_text(json.dumps({"environment": environment(), "rows": rows}, indent=1) + "\n")


def prepare(folder: Path, config_path: str, overrides: list[str]) -> Workload:
    """Open a run with a trained theta_0, or train one."""
    store = open_store(folder)
    if not has_model(store, 0):
        config = load_config(config_path, overrides)
        if not Path(config.data.path, "dataset.json").exists():
            market = f"{folder}-market"
            synthesize(users=TOYS_USERS, items=TOYS_ITEMS, out=market, seed=0)
            config = load_config(config_path, [*overrides, f"data.path={market}", "training.max_epochs=40"])
        dataset = open_dataset(config.data.path)
        with open_run(store, config, dataset) as run:
            train_iteration(run, 0, worker=Worker(), report=lambda at: print(at, flush=True))
    stored = stored_run(store)
    rules = rules_of(stored.config, stored.dataset)
    sources = cut_sources(stored.dataset.training_sequences(), rules)
    sources = sources.select(np.flatnonzero(sources.lengths >= 2))
    return Workload(load_trained(stored, 0), sources, rules)


def check(workload: Workload) -> None:
    """Hold the three ways to the same sequences; float32 may order near ties otherwise, in a trial of a thousand."""
    literal = LiteralGenerator(workload.backbone, workload.sources, workload.rules, IDENTITY).run()
    for run in (_batched(workload), _engine(workload)):
        decoded = run.decoded
        items = [tuple(row[:length]) for row, length in zip(decoded.context.tolist(), decoded.length, strict=True)]
        same = sum(one == other for one, other in zip(items, literal.contexts, strict=True)) / len(items)
        if same < 0.999:
            raise SystemExit(f"only {same:.2%} of the trials are those of the literal way: nothing is measured")


@dataclass(frozen=True)
class Run:
    """What was decoded, and the clocks of the search and of the encoding."""

    decoded: Decoded
    search: Clocked
    tree: ClockedTree


def _batched(workload: Workload) -> Run:
    return _decoded(workload, EachAnew(workload.backbone), FullScan(workload.backbone.item_vectors()))


def _engine(workload: Workload, search: ItemSearch | None = None) -> Run:
    longest = int(workload.sources.lengths.max())
    tree = ContextTree(workload.backbone, longest=longest)
    return _decoded(workload, tree, search or exact_search(workload.backbone.item_vectors()))


def _decoded(workload: Workload, tree: Tree, search: ItemSearch) -> Run:
    clocked, clocked_tree = Clocked(search), ClockedTree(tree)
    decoded = decode(workload.backbone, clocked, workload.sources, workload.rules, identity=IDENTITY, tree=clocked_tree)
    return Run(decoded, clocked, clocked_tree)


def measure(workload: Workload, arguments: argparse.Namespace) -> list[dict[str, object]]:
    """Run the three in turn, several times; one row each, with the medians."""
    few, some = workload.sample(arguments.literal_sources), workload.sample(2000)
    literal = LiteralGenerator(few.backbone, few.sources, few.rules, IDENTITY)
    search = exact_search(workload.backbone.item_vectors())
    ways: dict[str, Callable[[], dict[str, float]]] = {
        "literal": lambda: _timed_literal(literal),
        "batched": lambda: _timed(some, _batched),
        "engine": lambda: _timed(workload, lambda work: _engine(work, search)),
    }
    taken: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
    for _ in range(arguments.repeats):
        for name, way in ways.items():
            taken[name].append(way())
    rows: list[dict[str, object]] = []
    for name, runs in taken.items():
        median = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        rows.append({"implementation": name, "threads": arguments.threads, **median})
    rows[-1] |= {"encoder": _engine(few, search).decoded.encoder, "search": search.name}
    return rows


def _timed_literal(generator: LiteralGenerator) -> dict[str, float]:
    started = time.perf_counter()
    done = generator.run()
    seconds = time.perf_counter() - started
    return {"steps_per_s": done.steps / seconds, "sequences_per_s": len(done.contexts) / seconds}


def _timed(workload: Workload, way: Callable[[Workload], Run]) -> dict[str, float]:
    started = time.perf_counter()
    run = way(workload)
    decoded_s = time.perf_counter() - started
    write_s = _write(run.decoded, workload)
    seconds = decoded_s + write_s
    return {
        "steps_per_s": run.tree.steps / seconds,
        "sequences_per_s": len(run.decoded.source) / seconds,
        "kept_per_s": float(keeps(run.decoded, workload.sources, workload.rules).sum()) / seconds,
        "contexts_per_step": run.search.contexts / run.tree.steps,
        "encode_share": run.tree.seconds / seconds,
        "search_share": run.search.seconds / seconds,
        "choose_share": (decoded_s - run.tree.seconds - run.search.seconds) / seconds,
        "write_share": write_s / seconds,
    }


def _write(decoded: Decoded, workload: Workload) -> float:
    started = time.perf_counter()
    table = part_table(
        written_rows(decoded, workload.sources, workload.rules, search="benchmark"),
        workload.sources,
        np.arange(len(workload.sources)),
        first_id=1,
        iteration=0,
        trials=workload.rules.trials_per_sequence * workload.rules.lengths,
        evidence=EVIDENCE,
    )
    with tempfile.TemporaryDirectory() as folder:
        write_part(open_store(folder), iteration=0, shard=0, attempt="benchmark", table=table)
    return time.perf_counter() - started


def report(rows: list[dict[str, object]]) -> None:
    """Print each way, and how many times the others the engine does."""
    speed = {str(row["implementation"]): float(str(row["steps_per_s"])) for row in rows}
    for row in rows:
        figures = "  ".join(f"{key} {value:.3g}" for key, value in row.items() if isinstance(value, float))
        print(f"{row['implementation']:<8} {figures}")
    print(
        f"engine: {speed['engine'] / speed['literal']:.1f}x literal, {speed['engine'] / speed['batched']:.1f}x batched"
    )


if __name__ == "__main__":
    main()
