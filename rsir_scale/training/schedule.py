"""The learning rate of each update.

Comes in: the training section and a budget in updates. Goes out: a rate for an update, or for the updates of many rows
at once. It depends on the number of the update alone, so a fit taken up again goes on at the rate it would have had.

Shapes: R rows of a table.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from rsir_scale.config.settings import TrainingConfig


@dataclass(frozen=True)
class Schedule:
    """A rate that stays, or one that rises over the first updates and then falls to nothing at the last, linearly.

    Attributes:
        peak: the greatest rate.
        rising: updates until it is reached; 0 for a rate that stays.
        maximum: updates of the budget; 0 for a rate that stays.
    """

    peak: float
    rising: int = 0
    maximum: int = 0

    def of(self, update: int) -> float:
        """Return the rate of an update, the first being 0."""
        return float(self.of_rows(torch.tensor([update], dtype=torch.float64))[0])

    def of_rows(self, update_R: Tensor) -> Tensor:
        """Return the rates of many updates, in the type of their numbers."""
        if not self.maximum:
            return torch.full_like(update_R, self.peak)
        up_R = (update_R + 1) / (self.rising + 1)
        down_R = (self.maximum - update_R) / (self.maximum - self.rising)
        return self.peak * torch.minimum(up_R, down_R).clamp_(0.0, 1.0)


def schedule_of(config: TrainingConfig, maximum: int) -> Schedule:
    """Build the schedule that the settings name, for a budget of `maximum` updates."""
    if config.schedule == "constant":
        return Schedule(config.learning_rate)
    return Schedule(config.learning_rate, rising=int(config.warmup * maximum), maximum=maximum)
