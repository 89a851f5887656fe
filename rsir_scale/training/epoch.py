"""Fit one model: updates, a score after each interval, early stopping, exact resumption.

Comes in: a `Learner` and, after a stop, the last saved state. Goes out: the weights of the best score. Knows nothing of
what is learned, nor of Ray: a `Worker` says which share of each update is this process's, and gradients are summed over
`torch.distributed` when there are several. Update u draws its dropout from (the learner's identity, u, worker), and so
does the learner whatever else it draws: a resumed fit ends in the same weights as an undisturbed one.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic

import numpy as np
import torch
import torch.distributed as distributed
from torch import Tensor, nn

from rsir_scale.errors import DivergedError, ResumableError
from rsir_scale.models.checkpoint import copy_weights
from rsir_scale.randomness import Purpose, derive_seed
from rsir_scale.runs.trained import CurvePoint
from rsir_scale.training.exchange import all_have, sum_gradients
from rsir_scale.training.learner import Learner, Model
from rsir_scale.training.optimiser import optimiser_of, require_rows, row_tables
from rsir_scale.training.state import FitState, Position, dump_state, restore_state
from rsir_scale.training.worker import Worker


@dataclass(frozen=True)
class Progress:
    """What is told after each interval.

    Attributes:
        update: updates done; maximum: updates at the most.
        loss: mean over the updates since the last report, each a mean over its targets, auxiliary loss included.
        score: of these weights; best_score: the best so far.
        seconds: wall time of the fit so far.
        score_name: what the score measures.
    """

    update: int
    maximum: int
    loss: float
    score: float
    best_score: float
    seconds: float
    score_name: str


@dataclass(frozen=True)
class FitResult:
    """The best weights by score, and how the fit went."""

    weights: dict[str, Tensor]
    position: Position


class Fit(Generic[Model]):
    """The state of one fit on one worker: model, optimiser, position and best weights so far."""

    def __init__(
        self,
        learner: Learner[Model],
        worker: Worker,
        *,
        resume_from: FitState | None,
        warm_start: dict[str, Tensor] | None,
    ):
        self.learner = learner
        self.worker = worker
        self.model = learner.build(seed=derive_seed(*learner.identity, Purpose.INITIALISE))
        if warm_start is not None:
            self.model.load_state_dict(warm_start)
        elif resume_from is None:
            learner.begin(self.model)
        self.model.to(worker.device)
        if worker.size > 1:
            # What `begin` finds must not depend on the processor that a worker happens to run on.
            for tensor in self.model.state_dict().values():
                distributed.broadcast(tensor, 0)
        self.optimiser = optimiser_of(learner.config, self.model, maximum=learner.budget.maximum)
        self.position = Position()
        self.best: dict[str, Tensor] = copy_weights(self.model)
        if resume_from is not None:
            self.position, self.best = restore_state(resume_from, self.model, self.optimiser)
        if worker.size > 1 and not all_have(self.position.update, worker.device):
            raise ResumableError("the workers read different states of the training: run the same command again")

    def run_interval(self) -> Progress:
        """Do the updates up to the next score, take it, and remember the weights if they are the best."""
        started = time.perf_counter()
        budget = self.learner.budget
        stop = min(self.position.update + budget.interval, budget.maximum)
        self.model.train()
        losses = [self._update(update) for update in range(self.position.update, stop)]
        self.optimiser.settle()
        loss = float(np.mean(losses))
        if not (np.isfinite(loss) and all(_is_finite(weight) for weight in self.model.parameters())):
            raise DivergedError(self._diverged(loss, stop))
        self._share_buffers()
        try:
            score = self.learner.score(self.model, stop, self.worker)
        except DivergedError as error:
            raise DivergedError(self._diverged(loss, stop)) from error
        if not np.isfinite(score):
            raise DivergedError(self._diverged(loss, stop))
        spent = self.position.seconds + time.perf_counter() - started
        self.position = self.position.after(CurvePoint(update=stop, loss=loss, score=score), seconds=spent)
        if self.position.best_update == stop:
            _copy_into(self.best, self.model)
        return Progress(
            update=stop,
            maximum=budget.maximum,
            loss=loss,
            score=score,
            best_score=self.position.best_score,
            seconds=spent,
            score_name=self.learner.score_name,
        )

    def _diverged(self, loss: float, stop: int) -> str:
        last, learner = self.position, self.learner
        kept = (
            f"the state saved after update {last.update} is kept (best {learner.score_name} {last.best_score:.4f} at "
            f"update {last.best_update}), and the same command goes on from it"
            if last.update
            else "no state was saved before, so the same command starts this fit from its first update"
        )
        return (
            f"{learner.name}: training loss is {loss}, or a weight or a score is not finite, between updates "
            f"{last.update} and {stop} at {learner.rate_setting}={learner.config.learning_rate}: {kept}; draws are "
            "keyed by update, so if it ends here again, set a lower rate in a new run directory"
        )

    @property
    def finished(self) -> bool:
        """Whether the budget or the patience is spent."""
        budget = self.learner.budget
        since_best = self.position.update - self.position.best_update
        return self.position.update >= budget.maximum or since_best >= budget.patience

    def state(self) -> FitState:
        """All that a resumed fit needs, uncopied: the next interval changes it."""
        return dump_state(self.position, self.model, self.best, self.optimiser)

    def _update(self, update: int) -> float:
        worker = self.worker
        _seed(derive_seed(*self.learner.identity, update, worker.rank, Purpose.DROPOUT), worker.device)
        self.optimiser.at(update)
        self.optimiser.zero_grad()
        share = self.learner.loss(self.model, update, worker)
        tables = row_tables(self.model)
        if share is not None:
            share.backward()  # type: ignore[no-untyped-call]
            require_rows(tables, self.model)
        loss = torch.zeros((), device=worker.device) if share is None else share
        if worker.size > 1:
            trained = (one for one in self.model.parameters() if one.requires_grad)
            dense = [one for one in trained if all(one is not table for table in tables)]
            loss = sum_gradients(dense, tables, loss)
        self.optimiser.step()
        return float(loss.detach())

    def _share_buffers(self) -> None:
        """What a model counts while it trains is each worker's own; the first one's is saved."""
        if self.worker.size > 1:
            trained = dict(self.model.named_parameters())
            for name, tensor in self.model.state_dict().items():
                if name not in trained:
                    distributed.broadcast(tensor, 0)


def _seed(seed: int, device: torch.device) -> None:
    """Seed torch's generators. On a CPU its own alone: to tell every other kind of device takes a millisecond."""
    if device.type == "cpu":
        torch.default_generator.manual_seed(seed)
    else:
        torch.manual_seed(seed)


def _is_finite(weight: Tensor) -> bool:
    """Whether all values are numbers, without a mask of the whole table: extremes take no room, and NaN is one."""
    return weight.numel() == 0 or all(bool(extreme.isfinite()) for extreme in torch.aminmax(weight.detach()))


def _copy_into(weights: dict[str, Tensor], model: nn.Module) -> None:
    """Copy a model's weights over earlier ones, which need no second room."""
    for name, tensor in model.state_dict().items():
        weights[name].copy_(tensor)


def fit(
    learner: Learner[Model],
    worker: Worker,
    *,
    resume_from: FitState | None = None,
    warm_start: dict[str, Tensor] | None = None,
    save_state: Callable[[FitState], None] | None = None,
    report: Callable[[Progress], None] | None = None,
) -> FitResult:
    """Train until the budget or the patience is spent.

    Args:
        learner: what is learned, by which settings, within which budget.
        worker: this process's share.
        resume_from: a state that `save_state` was given; training goes on exactly from there, in its tensors.
        warm_start: weights to begin with instead of the learner's own (RSIR-FT); the optimiser starts fresh.
        save_state: called on rank 0 after each interval, with the state to resume from; its tensors change after.
        report: called on every worker after each interval.

    Raises:
        DivergedError: the loss, a weight or a score is not finite.
    """
    running = Fit(learner, worker, resume_from=resume_from, warm_start=warm_start)
    while not running.finished:
        progress = running.run_interval()
        if save_state is not None and worker.rank == 0:
            save_state(running.state())
        if report is not None:
            report(progress)
    return FitResult(running.best, running.position)
