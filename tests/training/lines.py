"""The smallest thing that can be learned: a line through points, by three updates an interval."""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from rsir_scale.config.settings import TrainingConfig
from rsir_scale.randomness import derive_seed
from rsir_scale.training.task import Budget
from rsir_scale.training.worker import Worker

POINT_N1 = torch.linspace(-1, 1, 20)[:, None]
VALUE_N1 = 3 * POINT_N1 - 1


class Line(nn.Module):
    """A slope and a height, some of which is dropped while it learns."""

    def __init__(self, width: int = 1) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.1)
        self.line = nn.Linear(1, width)

    def forward(self, point_N1: Tensor) -> Tensor:
        """Values at points."""
        return self.line(self.dropout(point_N1))


@dataclass(frozen=True)
class LineLearner:
    """Draws the points of an update by its number; `shown` says what it scores by."""

    shown: str = "negative loss"
    config: TrainingConfig = field(default_factory=lambda: TrainingConfig(learning_rate=0.1))
    budget: Budget = field(default_factory=lambda: Budget(interval=3, maximum=12, patience=12))
    identity: tuple[int, ...] = (7, 0, 99)
    begun: list[str] = field(default_factory=list)
    name: str = "the line of a test"
    rate_setting: str = "augmenter.pace"

    @property
    def score_name(self) -> str:
        return self.shown

    def build(self, *, seed: int) -> Line:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return Line()

    def begin(self, model: Line) -> None:
        self.begun.append("begun")
        nn.init.zeros_(model.line.bias)

    def loss(self, model: Line, update: int, worker: Worker) -> Tensor | None:
        draws = torch.Generator().manual_seed(derive_seed(*self.identity, update))
        own = torch.randperm(len(POINT_N1), generator=draws)[:8][worker.rank :: worker.size]
        return (model(POINT_N1[own]) - VALUE_N1[own]).square().sum() / 8

    def score(self, model: Line, update: int, worker: Worker) -> float:
        if self.shown == "updates":
            return float(update)
        model.eval()
        with torch.no_grad():
            loss = float((model(POINT_N1) - VALUE_N1).square().mean())
        return {"negative loss": -loss, "loss": loss, "nothing": float("nan")}[self.shown]
