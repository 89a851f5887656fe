"""Epochs of RecTools' SASRec on sequences of a file, timed. Runs in RecTools' own environment; see `rectools.py`.

Comes in: an .npz with `items` and `offsets`, and the settings as JSON. Goes out: one line of JSON with the seconds and
the mean loss of each epoch and the sequences seen in it. Nothing of this project is imported here.
"""

import argparse
import json
import time
from typing import Any

import numpy as np
import pandas as pd
import torch
from pytorch_lightning import Callback, Trainer
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import SASRecModel


class Clock(Callback):  # type: ignore[misc]  # known in RecTools' environment alone
    """Times epochs and counts sequences."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.losses: list[float] = []
        self.sequences: list[int] = []
        self._started = 0.0

    def on_train_epoch_start(self, *_: object) -> None:
        """Start the clock."""
        self.sequences.append(0)
        self._started = time.perf_counter()

    def on_train_batch_end(self, *given: Any) -> None:
        """Count."""
        # Lightning gives trainer, module, outputs, batch and its index.
        self.sequences[-1] += len(given[3]["x"])

    def on_train_epoch_end(self, trainer: Trainer, *_: object) -> None:
        """Stop the clock; what the epoch logged is known now."""
        self.seconds.append(time.perf_counter() - self._started)
        self.losses.append(float(trainer.callback_metrics["train_loss"]))


def dataset_of(path: str) -> Dataset:
    """The sequences as RecTools has them: one interaction a row, in order of time."""
    stored = np.load(path)
    lengths = np.diff(stored["offsets"])
    position = np.arange(lengths.sum()) - np.repeat(stored["offsets"][:-1], lengths)
    table = pd.DataFrame(
        {
            Columns.User: np.repeat(np.arange(len(lengths)), lengths),
            Columns.Item: stored["items"],
            Columns.Weight: 1.0,
            Columns.Datetime: pd.Timestamp("2020-01-01") + pd.to_timedelta(position, unit="D"),
        }
    )
    return Dataset.construct(table)


def main() -> None:
    """Train, and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--settings", required=True, help="JSON: sizes, loss, negatives, batch_size, epochs")
    arguments = parser.parse_args()
    settings = json.loads(arguments.settings)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = SASRecModel(
        n_blocks=settings["blocks"],
        n_heads=settings["heads"],
        n_factors=settings["width"],
        dropout_rate=settings["dropout"],
        session_max_len=settings["max_length"],
        loss=settings["loss"],
        n_negatives=settings["negatives"],
        gbce_t=settings["gbce_calibration"],
        lr=settings["learning_rate"],
        batch_size=settings["batch_size"],
        get_trainer_func=lambda: Trainer(
            max_epochs=settings["epochs"],
            accelerator="cpu",
            callbacks=[Clock()],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        ),
    )
    model.fit(dataset_of(arguments.data))
    # RecTools trains with a copy of the trainer, and so with a copy of the clock.
    clock = next(callback for callback in model.fit_trainer.callbacks if isinstance(callback, Clock))
    print(json.dumps({"epoch_s": clock.seconds, "losses": clock.losses, "sequences": clock.sequences}))


if __name__ == "__main__":
    main()
