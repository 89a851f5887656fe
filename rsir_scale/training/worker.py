"""One process's place among the data-parallel workers of a fit."""

from dataclasses import dataclass, field

import torch


@dataclass(frozen=True)
class Worker:
    """This process's place among the data-parallel workers."""

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
