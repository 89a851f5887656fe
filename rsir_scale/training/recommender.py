"""Learning a recommender: which rows an update holds, their loss, and the validation that decides when to stop.

Comes in: a `TrainingTask`. Goes out: a `Learner` of its backbone, which `training.epoch` fits. Update u draws its rows
by pass and its negatives by update, the same for all workers, so that their shares are those of one global batch; the
auxiliary loss of a backbone draws by update and worker.
"""

import numpy as np
import torch
import torch.distributed as distributed
from torch import Tensor

from rsir_scale.config.settings import TrainingConfig
from rsir_scale.evaluation.evaluate import rank_targets
from rsir_scale.evaluation.metrics import per_user
from rsir_scale.models.base import Backbone
from rsir_scale.models.checkpoint import build_backbone
from rsir_scale.randomness import Purpose, derive_seed
from rsir_scale.runs.selection import SELECTION_CUTOFF, SELECTION_NAME
from rsir_scale.training.batches import Batch, Rows, Updates, make_batch, target_counts
from rsir_scale.training.losses import Loss, encoding
from rsir_scale.training.task import Budget, TrainingTask
from rsir_scale.training.worker import Worker


class Recommender:
    """A `Learner` of next items.

    Args:
        task: data, settings, budget and identity.
        name: what is fitted, as an error calls it.
        rate_setting: where the learning rate is set.

    Raises:
        ConfigError: more negatives are wanted than there are other items.
    """

    encoder: str | None = None  # what encoded the updates so far, as its backbone names it
    score_name = f"validation {SELECTION_NAME}@{SELECTION_CUTOFF}"

    def __init__(
        self, task: TrainingTask, *, name: str = "the recommender", rate_setting: str = "training.learning_rate"
    ) -> None:
        self.task = task
        self.name = name
        self.rate_setting = rate_setting
        self._loss_of = Loss(task.config, task.description.item_count)
        self._target_counts = target_counts(
            task.sequences,
            np.arange(len(task.sequences)),
            max_length=task.description.max_length,
            first_targets=task.first_targets,
        )
        self._updates = Updates(
            task.sequences,
            real_count=task.real_count,
            batch_size=task.config.batch_size,
            synthetic_share=task.config.synthetic_share,
            identity=task.identity,
        )

    @property
    def identity(self) -> tuple[int, ...]:
        """See `Learner`."""
        return self.task.identity

    @property
    def config(self) -> TrainingConfig:
        """See `Learner`."""
        return self.task.config

    @property
    def budget(self) -> Budget:
        """See `Learner`."""
        return self.task.budget

    def build(self, *, seed: int) -> Backbone:
        """See `Learner`. Raises ConfigError: a class of the user's cannot be imported."""
        return build_backbone(self.task.description, seed=seed)

    def begin(self, model: Backbone) -> None:
        """Let the backbone look at the data."""
        seed = derive_seed(*self.identity, Purpose.PREPARE)
        model.prepare(self.task.sequences, item_vectors=self.task.item_vectors, seed=seed)

    def rows(self, update: int) -> Rows:
        """Return the sequences of an update, over all workers."""
        return self._updates.rows(update)

    def loss(self, model: Backbone, update: int, worker: Worker) -> Tensor | None:
        """Return the share in the mean over the update's targets, with that of the auxiliary loss over its rows."""
        rows = self.rows(update)
        total_weight = float((self._target_counts[rows] * self.task.weights[rows]).sum())
        own = rows[worker.rank :: worker.size]
        if len(own) == 0:
            return None
        batch = self._batch(own, update, worker)
        draws = torch.Generator().manual_seed(derive_seed(*self.identity, update, Purpose.NEGATIVES))
        with encoding(self.config, worker.device):
            self.encoder = model.encoder()
        loss = self._loss_of(model, batch, draws) / total_weight
        extra = self._auxiliary_loss(model, batch, update, worker)
        return loss if extra is None else loss + extra / len(rows)

    def score(self, model: Backbone, update: int, worker: Worker) -> float:  # noqa: ARG002 - of the protocol
        """Return NDCG over the validation users. Raises DivergedError: a score is not finite."""
        users = self.task.validation.part(rank=worker.rank, of=worker.size)
        ranks = rank_targets(model, users, mask_history=self.task.mask_history, cap=SELECTION_CUTOFF)
        gains = per_user(ranks, metric=SELECTION_NAME, cutoff=SELECTION_CUTOFF)
        totals = torch.tensor([gains.sum(), len(gains)], dtype=torch.float64, device=worker.device)
        if worker.size > 1:
            distributed.all_reduce(totals)
        return float(totals[0] / totals[1].clamp(min=1))

    def _batch(self, rows: Rows, update: int, worker: Worker) -> Batch:
        task = self.task
        batch = make_batch(
            task.sequences,
            rows,
            max_length=task.description.max_length,
            weights=task.weights,
            first_targets=task.first_targets,
            dropout_key=derive_seed(*self.identity, update, Purpose.DROPOUT),
        )
        return batch.to(worker.device)

    def _auxiliary_loss(self, model: Backbone, batch: Batch, update: int, worker: Worker) -> Tensor | None:
        key = derive_seed(*self.identity, update, worker.rank, Purpose.AUXILIARY)
        with encoding(self.config, worker.device):
            return model.auxiliary_loss(batch.contexts.context_BL, draws=torch.Generator().manual_seed(key))
