"""Do two training workers learn what one learns, and how much sooner? Ray Train on the CPUs of this machine.

    python -m benchmarks.speed.two_workers --config configs/toys.yaml --epochs 10 --json docs/results/two-workers.json

Each count of workers is a run directory of its own with the same global batch, and trains for all its epochs. The loss
is that of each validation interval, a pass over the data. Without dropout the workers' sums are those of one batch, and
the curves agree up to rounding; with it each worker draws its own, and they agree as two seeds of dropout do.
`largest_loss_difference` is relative to one worker's loss. Times are those of the fit, without starting Ray; a speed-up
means something where each worker has a core of its own.
"""

import argparse
import os
import shutil
from itertools import product
from pathlib import Path

from benchmarks.record.result_file import Row, write_rows
from rsir_scale.config.file import load_config
from rsir_scale.data.dataset import open_dataset
from rsir_scale.loop.driver import Cluster
from rsir_scale.loop.preflight import local_nodes, needs
from rsir_scale.loop.stop import Stopper
from rsir_scale.runs.begun import is_run
from rsir_scale.runs.open_run import open_run
from rsir_scale.runs.trained import read_model
from rsir_scale.storage.opening import open_store
from rsir_scale.training.trainer import train_with_ray


def main() -> None:
    """Train, compare and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="configs/toys.yaml")
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    parser.add_argument(
        "--workers", type=int, nargs="+", default=[1, 2], help="the first is what others are set against"
    )
    parser.add_argument("--dropouts", type=float, nargs="+", default=[0.0, 0.5])
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--work", type=Path, default=Path("runs/bench-workers"))
    parser.add_argument("--json", type=Path, required=True)
    arguments = parser.parse_args()
    os.environ.pop("RAY_ADDRESS", None)
    rows: list[Row] = []
    for dropout, workers in product(arguments.dropouts, arguments.workers):
        row = train(arguments, workers, dropout)
        if first := next((other for other in rows if other["dropout"] == dropout), None):
            row |= compare(row, first)
        rows.append(row)
        write_rows(arguments.json, rows)
        print({name: value for name, value in row.items() if not isinstance(value, list)}, flush=True)


def train(arguments: argparse.Namespace, workers: int, dropout: float) -> Row:
    """The row of one fit on Ray Train workers."""
    settings = {"workers": workers, "max_epochs": arguments.epochs, "patience": arguments.epochs}
    overrides = [*arguments.overrides, *(f"training.{key}={value}" for key, value in settings.items())]
    config = load_config(arguments.config, [*overrides, f"model.dropout={dropout}", "loop.iterations=0"])
    dataset = open_dataset(config.data.path)
    folder = arguments.work / f"workers-{workers}-dropout-{dropout}"
    if is_run(open_store(folder)):
        shutil.rmtree(folder)
    store = open_store(folder)
    with Stopper("stopped") as stopper, open_run(store, config, dataset) as run:
        cluster = Cluster(local_nodes(config), stopper)
        cluster.connect()
        try:
            cluster.wait_for(needs(config)[0])
            train_with_ray(run, 0, report=lambda _: None)
        finally:
            cluster.close()
    model = read_model(store, 0)
    shutil.rmtree(folder)
    return {
        "workers": workers,
        "dropout": dropout,
        "batch_size": config.training.batch_size,
        "fit_s": model.train_s,
        "epoch_s": model.train_s / arguments.epochs,
        "updates": [point.update for point in model.curve],
        "loss": [point.loss for point in model.curve],
        "validation_ndcg_20": [point.score for point in model.curve],
    }


def compare(row: Row, first: Row) -> Row:
    """How a row differs from the one of the first count of workers."""
    pairs = list(zip(row["loss"], first["loss"], strict=True))
    scores = list(zip(row["validation_ndcg_20"], first["validation_ndcg_20"], strict=True))
    return {
        "against_workers": first["workers"],
        "largest_loss_difference": max(abs(own - other) / abs(other) for own, other in pairs),
        "largest_ndcg_20_difference": max(abs(own - other) for own, other in scores),
        "speedup": first["fit_s"] / row["fit_s"],
    }


if __name__ == "__main__":
    main()
