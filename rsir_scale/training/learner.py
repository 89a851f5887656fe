"""What the fit fits: a model, its loss an update, and a score that decides which weights are kept.

`training.epoch.Fit` knows updates, the optimiser, workers, saved states and early stopping; a `Learner` knows what is
learned. The recommender is one (`training.recommender`); what an augmenter learns is another.
"""

from typing import Protocol

from torch import Tensor, nn

from rsir_scale.config.settings import TrainingConfig
from rsir_scale.training.task import Budget
from rsir_scale.training.worker import Worker


class Learner(Protocol):
    """One fit.

    Attributes:
        identity: keys every draw of the fit, with the number of the update.
        config: optimiser, precision and learning rate.
        budget: limits in updates.
    """

    @property
    def identity(self) -> tuple[int, ...]: ...
    @property
    def config(self) -> TrainingConfig: ...
    @property
    def budget(self) -> Budget: ...

    def build(self, *, seed: int) -> nn.Module:
        """The model with its first weights, on the CPU; the same for every worker."""
        ...

    def begin(self, model: nn.Module) -> None:
        """Give a model that starts from nothing what its data say; not called where a saved state is resumed."""
        ...

    def loss(self, model: nn.Module, update: int, worker: Worker) -> Tensor:
        """This worker's share of the update's loss: over all workers the shares add up to the mean."""
        ...

    def score(self, model: nn.Module, worker: Worker) -> float:
        """How good the weights are, higher is better, the same for every worker; a learner without validation gives
        the negative loss on a fixed sample, or always a larger value than before, so that the last weights stay."""
        ...
