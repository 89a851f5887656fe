"""How fast is training? An epoch against RecTools' SASRec on one thread, and an update at up to a million items.

    OMP_NUM_THREADS=1 taskset -c 0 python -m benchmarks.speed.training --json docs/results/training.json

The comparison: the same sequences, width, blocks, heads, dropout, rate, batch and longest context; the feed-forward
layer is as wide as the model, since RecTools has no other; norms stand before the sub-layers. An epoch is its updates
alone, without validation, and `epoch_s` the median over `--epochs` of ours and `--rectools-epochs` of theirs, which
come one right after the other, each in a process of its own: let nothing else run on the core. What differs beside the
code: RecTools draws its negatives for each position, ours are shared by the batch, and it pads every row to the longest
context. A whole run takes half an hour, most of it RecTools': `--losses` and `--items` measure some anew and leave the
other rows of the file; the two rows of a loss are always of one call. RecTools pins an older NumPy, so it has an
environment of its own, made once in `--env` from `rectools-requirements.txt`.

Rows with `items` are one worker of ours on a planted market: `step_s` is the median of an update, `peak_rss_bytes` what
the whole fit, with validation, the best weights kept and the state saved, took at most beyond what the process had
before the table was made. `settings_for` says what the fit of a catalogue is set to.
"""

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any, get_args

import numpy as np
import torch

from benchmarks.record.machine import commit
from benchmarks.record.result_file import Row, read_rows, write_rows
from benchmarks.speed.catalogue_step import measure_step
from benchmarks.speed.rectools import rectools_epochs
from rsir_scale.config.file import load_config
from rsir_scale.config.settings import TrainingConfig
from rsir_scale.data.dataset import open_dataset
from rsir_scale.evaluation.evaluate import EvaluationSet
from rsir_scale.runs.run import Run
from rsir_scale.storage.opening import open_store
from rsir_scale.training.batches import trainable_rows
from rsir_scale.training.epoch import fit
from rsir_scale.training.iteration import training_task
from rsir_scale.training.recommender import Recommender
from rsir_scale.training.worker import Worker

# Losses and their negatives.
LOSSES = {"sampled_softmax": 256, "cross_entropy": None, "bce": 1, "gbce": 256}
GBCE_CALIBRATION = 0.75
# Of every catalogue size: the same batch and negatives.
STEP_SETTINGS = [
    *("training.loss=sampled_softmax", "training.negatives=512", "training.batch_size=256"),
    "training.item_updates=sparse",
]


def main() -> None:
    """Measure, print, and write after each row, for a later one may fail; rows of other losses and sizes stay."""
    arguments = _arguments()
    os.environ["OMP_NUM_THREADS"] = "1"
    again = {*arguments.losses, *arguments.items}
    rows = [row for row in read_rows(arguments.json) if row.get("items", row.get("loss")) not in again]
    for loss in arguments.losses:
        for measure in (measure_ours, measure_rectools):
            if row := measure(arguments, loss):
                rows.append(row)
                _tell(row, rows, arguments.json)
    for items in arguments.items:
        rows.append(_in_fresh_process(measure_step, items, arguments.work, STEP_SETTINGS) | {"commit": commit()})
        _tell(rows[-1], rows, arguments.json)


def measure_ours(arguments: argparse.Namespace, loss: str) -> Row | None:
    """Our row of a loss; None, said aloud, where this version has no such loss."""
    if loss not in get_args(TrainingConfig.model_fields["loss"].annotation):
        print(f"training.loss={loss} is not among those of this version: no row of ours")
        return None
    overrides = [
        *(f"model.{key}={value}" for key, value in {"feed_forward": 64, "norm": "pre"}.items()),
        *(f"training.max_epochs={arguments.epochs}", *_loss_settings(loss)),
        *arguments.overrides,
    ]
    return _in_fresh_process(fit_ours, arguments.config, overrides) | _named("ours", loss)


def fit_ours(config_path: str, overrides: list[str]) -> Row:
    """Train for the budget, without users to validate on, and say what an epoch took."""
    torch.set_num_threads(1)
    config = load_config(config_path, overrides)
    run = Run(open_store(tempfile.gettempdir()), open_dataset(config.data.path), config)
    task = training_task(run, 0)
    nobody = EvaluationSet(task.validation.contexts.select([]), task.validation.targets[:0])
    patient = replace(task.budget, patience=task.budget.maximum)
    ends, losses = [0.0], []

    def note(progress: Any) -> None:
        ends.append(progress.seconds)
        losses.append(progress.loss)

    fit(Recommender(replace(task, validation=nobody, budget=patient)), Worker(), report=note)
    return _epochs(np.diff(ends).tolist(), losses, len(trainable_rows(task.sequences)), config.training.batch_size)


def measure_rectools(arguments: argparse.Namespace, loss: str) -> Row:
    """RecTools' row of a loss. Raises SystemExit: it did not see each sequence once an epoch."""
    config = load_config(arguments.config, [*arguments.overrides, *_loss_settings(loss)])
    found = rectools_epochs(config, epochs=arguments.rectools_epochs, environment=arguments.env)
    row = _epochs(found["epoch_s"], found["losses"], found["sequences"], config.training.batch_size)
    return row | _named("rectools", loss)


def _loss_settings(loss: str) -> list[str]:
    """The settings of a loss, for both sides."""
    negatives = LOSSES[loss]
    return [
        f"training.loss={loss}",
        *(["training.logq_correction=false", f"training.negatives={negatives}"] if negatives else []),
        *([f"training.gbce_calibration={GBCE_CALIBRATION}"] if loss == "gbce" else []),
    ]


def _epochs(seconds: list[float], losses: list[float], sequences: int, batch_size: int) -> Row:
    return {
        "epoch_s": median(seconds),
        "epochs_s": [round(second, 3) for second in seconds],
        "sequences_per_s": sequences / median(seconds),
        "batch_size": batch_size,
        "training_loss": losses,
    }


def _named(implementation: str, loss: str) -> Row:
    negatives = LOSSES[loss]
    return {"implementation": implementation, "loss": loss, "threads": 1, "commit": commit()} | (
        {"negatives": negatives} if negatives else {}
    )


def _in_fresh_process(function: Callable[..., Row], *arguments: Any) -> Row:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=1, mp_context=context) as pool:
        return pool.submit(function, *arguments).result()


def _tell(row: Row, rows: list[Row], path: Path) -> None:
    print(json.dumps({key: value for key, value in row.items() if key != "epochs_s"}), flush=True)
    write_rows(path, rows)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="configs/toys.yaml")
    parser.add_argument("--set", action="append", default=[], dest="overrides", help="of both sides; no loss or budget")
    parser.add_argument("--losses", nargs="*", default=list(LOSSES), choices=list(LOSSES))
    parser.add_argument("--epochs", type=int, default=7, help="of ours")
    parser.add_argument("--rectools-epochs", type=int, default=2)
    parser.add_argument("--env", type=Path, default=Path(".cache/rectools"))
    parser.add_argument("--items", type=int, nargs="*", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--work", type=Path, default=Path("runs/bench-training"), help="keeps the markets")
    parser.add_argument("--json", type=Path, required=True)
    arguments = parser.parse_args()
    if any(override.startswith(("training.loss", "training.max_epochs")) for override in arguments.overrides):
        sys.exit("--set is of both sides: choose losses with --losses, budgets with --epochs and --rectools-epochs")
    return arguments


if __name__ == "__main__":
    main()
