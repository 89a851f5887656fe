"""Updates of a recommender by whichever rsir_scale is on the path: what `epochs.py` times.

Comes in: a configuration and overrides, as arguments; then a line on stdin for each epoch that shall be done. Goes out:
the seconds of each epoch on stdout, of the clock and of the processor, without validation; at the end of stdin, one
line of JSON with the mean loss of each and what encoded it, where the version says so.
"""

import argparse
import json
import sys
import time

import numpy as np
import torch

from rsir_scale.config.file import load_config
from rsir_scale.config.settings import Config
from rsir_scale.data.dataset import open_dataset
from rsir_scale.evaluation.evaluate import EvaluationSet
from rsir_scale.runs.trained import ModelDescription
from rsir_scale.training.epoch import Fit
from rsir_scale.training.recommender import Recommender
from rsir_scale.training.task import TrainingTask, budget_of
from rsir_scale.training.worker import Worker


class Unscored(Recommender):
    """A recommender that no user validates."""

    def score(self, model: torch.nn.Module, update: int, worker: Worker) -> float:  # noqa: ARG002 - of the protocol
        """Return the number of updates."""
        return float(update)


def main() -> None:
    """Build the fit, then do an epoch for each line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", required=True)
    parser.add_argument("overrides", nargs="*")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    learner = Unscored(task_of(load_config(arguments.config, arguments.overrides)))
    running, losses = Fit(learner, Worker(), resume_from=None, warm_start=None), []
    print("ready", flush=True)
    for _ in sys.stdin:
        clock, worked = time.perf_counter(), time.process_time()
        losses.append(running.run_interval().loss)
        print(time.perf_counter() - clock, time.process_time() - worked, flush=True)
    print(json.dumps({"training_loss": losses, "encoder": getattr(learner, "encoder", "torch, padded")}))


def task_of(config: Config) -> TrainingTask:
    """The fit of the first model, with no user to validate on."""
    dataset = open_dataset(config.data.path)
    real = dataset.training_sequences()
    return TrainingTask(
        sequences=real,
        real_count=dataset.meta.users,
        weights=np.ones(len(real), dtype=np.float32),
        validation=EvaluationSet(real.select(np.empty(0, dtype=np.int64)), np.empty(0, dtype=np.int64)),
        description=ModelDescription(
            model=config.model, item_count=dataset.meta.items, max_length=config.data.max_length
        ),
        config=config.training,
        budget=budget_of(config.training, real),
        identity=(config.seed, 0),
        mask_history=config.evaluation.mask_history,
    )


if __name__ == "__main__":
    main()
