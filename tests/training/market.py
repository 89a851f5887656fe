"""A small planted market and fits on it, shared by the tests of this room."""

from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np

from rsir_scale.config.settings import ModelConfig, TrainingConfig
from rsir_scale.data.dataset import PreparedDataset, Sequences, open_dataset
from rsir_scale.data.sequences import offsets_of
from rsir_scale.data.synthetic import synthesize
from rsir_scale.evaluation.evaluate import validation_set
from rsir_scale.models.base import Backbone
from rsir_scale.models.checkpoint import build_backbone
from rsir_scale.runs.trained import ModelDescription
from rsir_scale.training import epoch
from rsir_scale.training.epoch import Fit, FitResult
from rsir_scale.training.recommender import Recommender
from rsir_scale.training.state import FitState
from rsir_scale.training.task import TrainingTask, budget_of, sequence_weights
from rsir_scale.training.worker import Worker

ITEMS, USERS, LENGTH = 80, 257, 20
MODEL = ModelConfig(width=16, blocks=1, heads=2, feed_forward=16, dropout=0.2)
TRAINING = TrainingConfig(batch_size=64, learning_rate=1e-2, max_epochs=3, patience=3, negatives=32)


@cache
def market() -> PreparedDataset:
    """257 users, 80 items; the next item mostly follows from the last one. Made once for all tests."""
    folder = Path(mkdtemp(prefix="rsir-test-")) / "market"
    synthesize(users=USERS, items=ITEMS, out=folder, seed=3)
    return open_dataset(folder)


def task(
    model: ModelConfig = MODEL, *, sequences: Sequences | None = None, seed: int = 1, **changes: object
) -> TrainingTask:
    """A fit of the market, or of other sequences under the market's budget; `changes` are of the training section."""
    config = TRAINING.model_copy(update=changes)
    real = market().training_sequences()
    chosen = real if sequences is None else sequences
    return TrainingTask(
        sequences=chosen,
        real_count=USERS,
        weights=sequence_weights(chosen, real_count=USERS, synthetic_weight=config.synthetic_weight),
        validation=validation_set(real, market().held_out()),
        description=ModelDescription(model=model, item_count=ITEMS, max_length=LENGTH),
        config=config,
        budget=budget_of(config, real),
        identity=(seed, 0),
        mask_history=True,
    )


def without_dropout(fitted: TrainingTask) -> TrainingTask:
    """The same task for a model whose fit draws no dropout."""
    model = fitted.description.model.model_copy(update={"dropout": 0.0})
    return replace(fitted, description=fitted.description.model_copy(update={"model": model}))


def sequences_of(rows: list[list[int]]) -> Sequences:
    """Put rows of items together."""
    items = np.array([item for row in rows for item in row], dtype=np.int32)
    return Sequences(np.arange(len(rows)), offsets_of([len(row) for row in rows]), items)


def fit(fitted: TrainingTask, worker: Worker, **rest: Any) -> FitResult:
    """Fit a recommender to its end; `rest` as of `epoch.fit`."""
    return epoch.fit(Recommender(fitted), worker, **rest)


def begun(
    fitted: TrainingTask,
    worker: Worker | None = None,
    *,
    resume_from: FitState | None = None,
    warm_start: dict[str, Any] | None = None,
) -> Fit[Backbone]:
    """The fit of a recommender before its next interval."""
    return Fit(Recommender(fitted), worker or Worker(), resume_from=resume_from, warm_start=warm_start)


def copied(state: FitState) -> FitState:
    """The same state, with tensors that the fit's next update leaves alone."""
    return replace(state, tensors={name: tensor.detach().clone() for name, tensor in state.tensors.items()})


def trained_backbone(fitted: TrainingTask, result: FitResult) -> Backbone:
    """The fitted backbone, with its best weights, in evaluation mode."""
    backbone = build_backbone(fitted.description)
    backbone.load_state_dict(result.weights)
    return backbone.eval()
