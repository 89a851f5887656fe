"""What the fit fits: a model, its loss an update, and a score that decides which weights are kept.

`training.epoch.Fit` knows updates, the optimiser, workers, saved states and early stopping; a `Learner` knows what is
learned. The recommender is one (`training.recommender`); what an augmenter learns is another.

A learner is made on every worker, from the same run, and again after a stop. So whatever it draws it keys by `identity`
and the number of the update (`randomness`), and it keeps nothing from one update to the next but what the model holds.
"""

from typing import Protocol, TypeVar

from torch import Tensor, nn

from rsir_scale.config.settings import TrainingConfig
from rsir_scale.training.task import Budget
from rsir_scale.training.worker import Worker

Model = TypeVar("Model", bound=nn.Module)


class Learner(Protocol[Model]):
    """One fit.

    Attributes:
        name: what is fitted, as an error calls it.
        rate_setting: the setting that holds the learning rate, as an error names it.
        score_name: what `score` measures.
        identity: integers that key every draw of the fit, with the number of the update; no other fit of the run has
            the same.
        config: learning rate and its schedule, weight decay; `item_updates` other than dense is for a `Backbone`.
        budget: limits in updates.
    """

    @property
    def name(self) -> str: ...
    @property
    def rate_setting(self) -> str: ...
    @property
    def score_name(self) -> str: ...
    @property
    def identity(self) -> tuple[int, ...]: ...
    @property
    def config(self) -> TrainingConfig: ...
    @property
    def budget(self) -> Budget: ...

    def build(self, *, seed: int) -> Model:
        """Build the model with the first weights that belong to `seed`, on the CPU; torch's generator stays as it was.

        Every parameter and buffer is saved with the fit's state, and all that differs between two builds is in them.
        """
        ...

    def begin(self, model: Model) -> None:
        """Give a model that starts from nothing what its data say; not called where a fit is resumed or starts warm."""
        ...

    def loss(self, model: Model, update: int, worker: Worker) -> Tensor | None:
        """Return this worker's share of the loss of an update, the first being 0: over all workers shares add up.

        Args:
            model: in training mode, on the worker's device; torch's own generator was seeded for this update and
                worker, so dropout may draw from it.
            update: its number.
            worker: which share.

        Returns:
            A single number with gradients; None for a worker that has no data in this update.
        """
        ...

    def score(self, model: Model, update: int, worker: Worker) -> float:
        """Return how good the weights are after `update` updates: higher is better, the same for every worker.

        A learner that validates on nothing returns the number of updates: the latest weights are then the best.

        Raises:
            DivergedError: what the model gives is not finite.
        """
        ...
