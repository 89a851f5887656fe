"""What one fit is given: data, validation users, settings, a budget in updates and an identity.

The budget of every iteration is counted in optimiser updates of a pass over D_0, also when D_k is larger: a gain is
then the data's, not that of more training.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rsir_scale.config.settings import Config, TrainingConfig
from rsir_scale.data.dataset import Sequences
from rsir_scale.errors import InputError
from rsir_scale.evaluation.evaluate import EvaluationSet
from rsir_scale.runs.trained import ModelDescription
from rsir_scale.training.batches import trainable_rows, updates_per_pass


@dataclass(frozen=True)
class Budget:
    """Limits of a fit, in optimiser updates.

    Attributes:
        interval: updates between two validations: one pass over D_0.
        maximum: updates after which training ends.
        patience: updates without a better validation score after which training ends.
    """

    interval: int
    maximum: int
    patience: int


@dataclass(frozen=True)
class TrainingTask:
    """One fit.

    Attributes:
        sequences: D_k, real sequences and synthetic ones.
        real_count: ids below it are real, or stand in the place of real ones.
        weights: float32 loss weight of each sequence.
        validation: users whose next item decides when to stop; never trained on.
        description: the backbone to build.
        config: the training section, or settings of the fit's own.
        budget: limits in updates.
        identity: keys every draw of the fit; (seed, iteration) is theta_k's.
        mask_history: whether validation masks the items of the context.
        first_targets: int64[N], position of the first item of each sequence that is predicted; None: 1 for all.
        item_vectors: float32[V, d], what the user knows of each item; see `Backbone.prepare`.
    """

    sequences: Sequences
    real_count: int
    weights: npt.NDArray[np.float32]
    validation: EvaluationSet
    description: ModelDescription
    config: TrainingConfig
    budget: Budget
    identity: tuple[int, ...]
    mask_history: bool
    item_vectors: npt.NDArray[np.float32] | None = None
    first_targets: npt.NDArray[np.int64] | None = None


def starts_warm(config: Config, iteration: int) -> bool:
    """Whether theta_k starts from the weights of theta_{k-1}."""
    return config.loop.variant == "finetune" and iteration > 0


def settings_of(config: Config, iteration: int) -> TrainingConfig:
    """The training section as the fit of theta_k reads it."""
    return config.training.for_finetuning() if starts_warm(config, iteration) else config.training


def budget_of(config: TrainingConfig, real: Sequences) -> Budget:
    """Translate epochs of D_0 into updates.

    Raises:
        InputError: no real sequence has two items, so there is nothing to predict.
    """
    rows = len(trainable_rows(real))
    if rows == 0:
        raise InputError("no training sequence has 2 items or more: nothing can be learned; import a longer log")
    interval = updates_per_pass(rows, config.batch_size)
    return Budget(interval=interval, maximum=interval * config.max_epochs, patience=interval * config.patience)


def sequence_weights(sequences: Sequences, *, real_count: int, synthetic_weight: float) -> npt.NDArray[np.float32]:
    """Weigh real sequences (ids below `real_count`) by 1 and synthetic ones by `synthetic_weight`."""
    return np.where(sequences.ids < real_count, 1.0, synthetic_weight).astype(np.float32)
