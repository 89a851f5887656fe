"""How much does theta_0 write? The paper's Table 4 in both readings, over the thresholds of the paper's grid.

    python -m benchmarks.studies.sequence_counts run    --datasets toys --backbones sasrec --out runs/counts
    python -m benchmarks.studies.sequence_counts report --out runs/counts --json docs/results/paper/counts.json

The paper gives neither tau nor m of its counts. m is 5 and p .5 here, as in the authors' configuration. A dataset and a
backbone have one theta_0, by `configs/DATASET.yaml`; for each reading and tau it writes once, in a run directory of its
own, and nothing is trained on what it wrote. All of it resumes after any stop, and a run whose dataset or backbone is
not asked for stays as it is.
"""

import argparse
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import torch

from benchmarks.record.result_file import Row, write_rows
from benchmarks.studies.paired_gain import run_arm
from rsir_scale.config.file import load_config
from rsir_scale.data.dataset import open_dataset
from rsir_scale.generation.shard import generate_locally
from rsir_scale.loop.recursion import run_recursion
from rsir_scale.runs.begun import is_run, read_config
from rsir_scale.runs.manifest import read_chain
from rsir_scale.runs.open_run import HeldRun, open_run
from rsir_scale.runs.plan import ShardPlan
from rsir_scale.storage.opening import open_store
from rsir_scale.studies.sharing import adopt_base

DATASETS = ("toys", "beauty", "sports", "yelp")
BACKBONES = ("sasrec", "cl4srec", "hstu")
READINGS = ("released", "paper")
THRESHOLDS = (1, 3, 5, 10, 20, 50, 100)
BASE = "base"


class Written(Exception):
    """theta_0 has written, and nothing more is wanted."""


class WritingAlone:
    """Phases of a run that ends where its second fit would begin."""

    def train(self, run: HeldRun, iteration: int) -> None:
        """Raise Written: theta_0 is there, and its writing is finished."""
        raise Written(f"{run.store.root}: theta_{iteration} is not wanted")

    def generate(self, run: HeldRun, plan: ShardPlan) -> None:
        """Compute the missing shards one after another."""
        generate_locally(run, plan)


def main() -> None:
    """Let theta_0 write, or report how much it wrote."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    run = verbs.add_parser("run", help="make what is missing")
    run.add_argument("--datasets", nargs="+", default=DATASETS, metavar="NAME", help="configs/NAME.yaml")
    run.add_argument("--backbones", nargs="+", default=BACKBONES)
    run.add_argument("--readings", nargs="+", default=READINGS)
    run.add_argument("--thresholds", type=int, nargs="+", default=THRESHOLDS, metavar="TAU")
    run.add_argument("--seed", type=int, default=0)
    run.add_argument("--set", action="append", default=[], dest="overrides")
    run.add_argument("--out", type=Path, required=True)
    report = verbs.add_parser("report", help="count what is there")
    report.add_argument("--out", type=Path, required=True)
    report.add_argument("--json", type=Path, required=True)
    arguments = parser.parse_args()
    if arguments.verb == "report":
        rows = list(counted(arguments.out))
        write_rows(arguments.json, rows)
        for row in rows:
            print(" ".join(f"{name} {value}" for name, value in row.items()))
        return
    torch.set_num_threads(1)
    for dataset, backbone in product(arguments.datasets, arguments.backbones):
        let_write(arguments, f"configs/{dataset}.yaml", f"{dataset}-{backbone}", backbone)


def let_write(arguments: argparse.Namespace, config_path: str, name: str, backbone: str) -> None:
    """Make or finish a theta_0, and all that it writes."""
    out = arguments.out / name
    overrides = [*arguments.overrides, f"model.backbone={backbone}"]
    run_arm(config_path, [*overrides, "loop.iterations=0"], BASE, arguments.seed, out)
    base = open_store(out / f"{BASE}-seed{arguments.seed}")
    for reading, threshold in product(arguments.readings, arguments.thresholds):
        rule = [f"generation.reading={reading}", f"fidelity.rank_threshold={threshold}"]
        fixed = ["generation.trials_per_sequence=5", "loop.iterations=1", f"seed={arguments.seed}"]
        config = load_config(config_path, [*overrides, *rule, *fixed])
        folder = out / f"{reading}-tau{threshold}-seed{arguments.seed}"
        with open_run(open_store(folder), config, open_dataset(config.data.path)) as run:
            adopt_base(run, base)
            try:
                run_recursion(run, WritingAlone())
            except Written:
                print(f"{name} {folder.name} done", flush=True)


def counted(out: Path) -> Iterator[Row]:
    """One row for each run whose theta_0 has written, with the mean number of its sequences' items."""
    for folder in sorted(out.glob("*/*-tau*-seed*")):
        store = open_store(folder)
        chain = read_chain(store) if is_run(store) else []
        if chain and (written := chain[0].generation) is not None:
            config = read_config(store)
            yield {
                "dataset": folder.parent.name.partition("-")[0],
                "backbone": config.model.backbone,
                "reading": config.generation.reading,
                "tau": config.fidelity.rank_threshold,
                "seed": config.seed,
                "sequences": written.rows,
                "pairs": written.pairs,
                "base": chain[0].metrics["test/NDCG@10"],
            }


if __name__ == "__main__":
    main()
