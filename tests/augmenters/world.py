"""Small worlds to augment in: a prepared dataset on disk, a run with an untrained theta_0, and the plan of iteration 0.

The greatest item of the catalogue is the canary: it is held out once, and occurs nowhere else.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import polars as pl

from rsir_scale.augmenters.base import Augmenter
from rsir_scale.augmenters.opening import augmenter_of
from rsir_scale.config.file import resolve
from rsir_scale.config.settings import Config
from rsir_scale.data.dataset import PreparedDataset, open_dataset
from rsir_scale.data.sequences import Sequences
from rsir_scale.data.writer import DatasetWriter
from rsir_scale.models.checkpoint import build_backbone, copy_weights
from rsir_scale.models.repository import publish_weights
from rsir_scale.runs import layout
from rsir_scale.runs.plan import ShardPlan, plan_iteration
from rsir_scale.runs.run import Run
from rsir_scale.runs.trained import ModelDescription, TrainedModel, publish_model
from rsir_scale.storage.opening import open_store
from tests.augmenters.rsir.worlds import sequences_of

MAX_LENGTH = 8
Rows = list[list[int]]


@dataclass(frozen=True)
class World:
    """A run that has a model and a plan, and wrote nothing yet."""

    run: Run
    plan: ShardPlan

    @property
    def sources(self) -> Sequences:
        return self.run.dataset.training_sequences()

    @property
    def canary(self) -> int:
        return self.run.dataset.meta.items

    def augmenter(self) -> Augmenter:
        """The augmenter that the run names, not prepared and not open."""
        return augmenter_of(self.run, self.plan.iteration)


def some_rows(seed: int, *, items: int) -> Rows:
    """2 to 8 users, most of them short; items 1 and 2 are trained on, the canary is the first user's last."""
    draws = np.random.default_rng(seed)
    lengths = draws.integers(1, 12, draws.integers(2, 9))
    rows = [draws.integers(1, items, length).tolist() for length in lengths]
    return [[1, 2, *rows[0], 1, items], *rows[1:]]


def make_world(rows: Rows, *, items: int, augmenter: str, options: Mapping[str, object], seed: int = 7) -> World:
    """Write a dataset of whole sequences, and begin a run on it."""
    folder = Path(mkdtemp(prefix="rsir-test-"))
    dataset = make_dataset(folder / "market", rows, items=items)
    config = resolve(
        {
            "data": {"path": str(dataset.path), "max_length": MAX_LENGTH},
            "model": {"width": 8, "blocks": 1, "heads": 2, "feed_forward": 8},
            "training": {"loss": "cross_entropy"},
            "generation": {"augmenter": augmenter, "trials_per_sequence": 3, "shard_sources": 5},
            "fidelity": {"rank_threshold": 1},
            "augmenter": dict(options),
            "seed": seed,
        }
    )
    run = Run(open_store(folder / "run"), dataset, config)
    publish_untrained(run)
    return World(run, plan_iteration(run, 0, trials=augmenter_of(run, 0).trials))


def make_dataset(folder: Path, rows: Sequence[list[int]], *, items: int) -> PreparedDataset:
    """A prepared dataset of these users, in two files."""
    folder.mkdir()
    writer = DatasetWriter(folder, items=items, has_times=False, truncation=50, min_count=0)
    half = len(rows) // 2
    for first, last in ((0, half), (half, len(rows))):
        if first < last:
            writer.add(sequences_of(list(rows[first:last]), list(range(first, last))), None)
    writer.finish(
        user_ids=pl.Series([f"u{user}" for user in range(len(rows))]),
        item_ids=pl.Series([f"i{item}" for item in range(1, items + 1)]),
    )
    return open_dataset(folder)


def publish_untrained(run: Run) -> None:
    """Give iteration 0 a model that no fit has seen."""
    config: Config = run.config
    description = ModelDescription(model=config.model, item_count=run.dataset.meta.items, max_length=MAX_LENGTH)
    weights = publish_weights(
        run.store, 0, copy_weights(build_backbone(description, seed=3)), attempt=layout.new_attempt()
    )
    model = TrainedModel(
        description=description, weights=weights, updates=0, best_update=0, validation_score=0.0, train_s=0.0
    )
    publish_model(run.store, 0, model)
