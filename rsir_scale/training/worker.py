"""One process's place among those that fit one model together."""

from dataclasses import dataclass, field

import torch


@dataclass(frozen=True)
class Worker:
    """A data-parallel worker: its number among how many, and the device that it computes on."""

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
