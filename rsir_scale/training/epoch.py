"""Fit one backbone: updates, validation after each pass over D_0, early stopping, exact resumption.

Comes in: a `TrainingTask` and, after a stop, the last saved state. Goes out: the weights of the best validation. Knows
nothing of Ray: a `Worker` says which share of each batch is this process's, and gradients are summed over
`torch.distributed` when there are several. Update u draws its dropout and negatives from the identity
(seed, iteration, u, worker), so a resumed fit ends in the same weights as an undisturbed one.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.distributed as distributed
from torch import Tensor

from rsir_scale.errors import DivergedError, ResumableError
from rsir_scale.evaluation.early import EarlyRanks
from rsir_scale.evaluation.metrics import per_user
from rsir_scale.models.base import Backbone
from rsir_scale.models.checkpoint import build_backbone, copy_weights
from rsir_scale.randomness import Purpose, derive_seed
from rsir_scale.runs.trained import CurvePoint
from rsir_scale.training.batches import Batch, Rows, Updates, make_batch
from rsir_scale.training.exchange import all_have, sum_gradients
from rsir_scale.training.losses import Loss, encoding
from rsir_scale.training.optimiser import optimiser_of, require_rows, row_tables
from rsir_scale.training.state import FitState, Position, dump_state, restore_state
from rsir_scale.training.task import TrainingTask

_SELECTION_CUTOFF = 20


@dataclass(frozen=True)
class Worker:
    """This process's place among the data-parallel workers."""

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))


@dataclass(frozen=True)
class Progress:
    """What is told after each validation.

    Attributes:
        update: updates done; maximum: updates at the most.
        loss: mean over the updates since the last report, each a mean over its targets, auxiliary loss included.
        score: validation NDCG@20; best_score: the best so far.
        seconds: wall time of the fit so far.
    """

    update: int
    maximum: int
    loss: float
    score: float
    best_score: float
    seconds: float


@dataclass(frozen=True)
class FitResult:
    """The best weights by validation, and how the fit went."""

    weights: dict[str, Tensor]
    position: Position


class Fit:
    """The state of one fit on one worker: model, optimiser, position and best weights so far."""

    def __init__(
        self, task: TrainingTask, worker: Worker, *, resume_from: FitState | None, warm_start: dict[str, Tensor] | None
    ):
        self.task = task
        self.worker = worker
        seed, iteration = task.identity
        self.model = build_backbone(task.description, seed=derive_seed(seed, iteration, Purpose.INITIALISE))
        if warm_start is not None:
            self.model.load_state_dict(warm_start)
        elif resume_from is None:
            preparing = derive_seed(seed, iteration, Purpose.PREPARE)
            self.model.prepare(task.sequences, item_vectors=task.item_vectors, seed=preparing)
        self.model.to(worker.device)
        if worker.size > 1:
            # What `prepare` finds must not depend on the processor that a worker happens to run on.
            for tensor in self.model.state_dict().values():
                distributed.broadcast(tensor, 0)
        self.optimiser = optimiser_of(task.config, self.model, maximum=task.budget.maximum)
        self._loss_of = Loss(task.config, task.sequences.items, task.description.item_count)
        self.position = Position()
        self.best: dict[str, Tensor] = copy_weights(self.model)
        if resume_from is not None:
            self.position, self.best = restore_state(resume_from, self.model, self.optimiser)
        if worker.size > 1 and not all_have(self.position.update, worker.device):
            raise ResumableError("the workers read different states of the training: run the same command again")
        # To take differences of all offsets anew would cost each update the time of the whole data.
        self._lengths = task.sequences.lengths
        self._updates = Updates(
            task.sequences,
            real_count=task.real_count,
            batch_size=task.config.batch_size,
            synthetic_share=task.config.synthetic_share,
            identity=task.identity,
        )
        self._validation = EarlyRanks(
            task.validation.part(rank=worker.rank, of=worker.size),
            item_count=task.description.item_count,
            mask_history=task.mask_history,
        )

    def run_interval(self) -> Progress:
        """Do the updates up to the next validation, validate, and remember the weights if they are the best."""
        started = time.perf_counter()
        budget = self.task.budget
        stop = min(self.position.update + budget.interval, budget.maximum)
        self.model.train()
        losses = [self._update(update) for update in range(self.position.update, stop)]
        self.optimiser.settle()
        loss = float(np.mean(losses))
        if not (np.isfinite(loss) and all(_is_finite(weight) for weight in self.model.parameters())):
            raise DivergedError(self._diverged(loss, stop))
        self._share_buffers()
        try:
            score = self._validate()
        except DivergedError as error:
            raise DivergedError(self._diverged(loss, stop)) from error
        spent = self.position.seconds + time.perf_counter() - started
        self.position = self.position.after(CurvePoint(update=stop, loss=loss, score=score), seconds=spent)
        if self.position.best_update == stop:
            _copy_into(self.best, self.model)
        return Progress(stop, budget.maximum, loss, score, self.position.best_score, spent)

    def _diverged(self, loss: float, stop: int) -> str:
        last, rate = self.position, self.task.config.learning_rate
        kept = (
            f"the state saved after update {last.update} is kept (best NDCG@20 {last.best_score:.4f} at update "
            f"{last.best_update}), and the same command goes on from it"
            if last.update
            else "no state was saved before, so the same command starts this fit anew"
        )
        return (
            f"training loss is {loss}, or a weight or a score is no number, between updates {last.update} and {stop} "
            f"at training.learning_rate={rate}: {kept}; draws are keyed by update, so if it ends here again, set a "
            "lower rate in a new run directory"
        )

    @property
    def finished(self) -> bool:
        """Whether the budget or the patience is spent."""
        since_best = self.position.update - self.position.best_update
        return self.position.update >= self.task.budget.maximum or since_best >= self.task.budget.patience

    def state(self) -> FitState:
        """All that a resumed fit needs, uncopied: the next interval changes it."""
        return dump_state(self.position, self.model, self.best, self.optimiser)

    def _update(self, update: int) -> float:
        rows = self._updates.rows(update)
        lengths = np.minimum(self._lengths[rows] - 1, self.task.description.max_length)
        total_weight = float((lengths * self.task.weights[rows]).sum())
        seed = derive_seed(*self.task.identity, update, self.worker.rank, Purpose.DROPOUT)
        torch.manual_seed(seed)
        self.optimiser.at(update)
        self.optimiser.zero_grad(set_to_none=True)
        batch = self._batch(rows[self.worker.rank :: self.worker.size])
        loss = self._loss(batch, update) / total_weight
        extra = self._auxiliary_loss(batch, update)
        if extra is not None:
            loss = loss + extra / len(rows)
        tables = row_tables(self.model)
        if batch is not None:
            loss.backward()  # type: ignore[no-untyped-call]
            require_rows(tables, self.model)
        if self.worker.size > 1:
            trained = (one for one in self.model.parameters() if one.requires_grad)
            dense = [one for one in trained if all(one is not table for table in tables)]
            loss = sum_gradients(dense, tables, loss)
        self.optimiser.step()
        return float(loss.detach())

    def _batch(self, rows: Rows) -> Batch | None:
        """This worker's rows; None for a worker without any in a short last batch."""
        if len(rows) == 0:
            return None
        task = self.task
        batch = make_batch(task.sequences, rows, max_length=task.description.max_length, weights=task.weights)
        return batch.to(self.worker.device)

    def _auxiliary_loss(self, batch: Batch | None, update: int) -> Tensor | None:
        if batch is None:
            return None
        key = derive_seed(*self.task.identity, update, self.worker.rank, Purpose.AUXILIARY)
        with encoding(self.task.config, self.worker.device):
            return self.model.auxiliary_loss(batch.context_BL, draws=torch.Generator().manual_seed(key))

    def _loss(self, batch: Batch | None, update: int) -> Tensor:
        if batch is None:
            return torch.zeros((), device=self.worker.device)
        # Every worker draws the same negatives: the softmax is that of one global batch.
        draws = torch.Generator().manual_seed(derive_seed(*self.task.identity, update, Purpose.NEGATIVES))
        return self._loss_of(self.model, batch, draws)

    def _share_buffers(self) -> None:
        """What a class of the user's counts while it trains is each worker's own; the first one's is saved."""
        if self.worker.size > 1:
            trained = dict(self.model.named_parameters())
            for name, tensor in self.model.state_dict().items():
                if name not in trained:
                    distributed.broadcast(tensor, 0)

    def _validate(self) -> float:
        worker = self.worker
        ranks = self._validation.within(self.model, _SELECTION_CUTOFF)
        gains = per_user(ranks, metric="NDCG", cutoff=_SELECTION_CUTOFF)
        totals = torch.tensor([gains.sum(), len(gains)], dtype=torch.float64, device=worker.device)
        if worker.size > 1:
            distributed.all_reduce(totals)
        return float(totals[0] / totals[1].clamp(min=1))


def _is_finite(weight: Tensor) -> bool:
    """Whether all values are numbers, without a mask of the whole table: extremes take no room, and NaN is one."""
    return weight.numel() == 0 or all(bool(extreme.isfinite()) for extreme in torch.aminmax(weight.detach()))


def _copy_into(weights: dict[str, Tensor], model: Backbone) -> None:
    """Copy a model's weights over earlier ones, which need no second room."""
    for name, tensor in model.state_dict().items():
        weights[name].copy_(tensor)


def fit(
    task: TrainingTask,
    worker: Worker,
    *,
    resume_from: FitState | None = None,
    warm_start: dict[str, Tensor] | None = None,
    save_state: Callable[[FitState], None] | None = None,
    report: Callable[[Progress], None] | None = None,
) -> FitResult:
    """Train until the budget or the patience is spent.

    Args:
        task: data, settings, budget and identity.
        worker: this process's share.
        resume_from: a state that `save_state` was given; training goes on exactly from there, in its tensors.
        warm_start: weights to begin with instead of random ones (RSIR-FT); the optimiser starts fresh.
        save_state: called on rank 0 after each validation, with the state to resume from; its tensors change after.
        report: called on every worker after each validation.

    Raises:
        DivergedError: the loss or a weight is not finite.
    """
    running = Fit(task, worker, resume_from=resume_from, warm_start=warm_start)
    while not running.finished:
        progress = running.run_interval()
        if save_state is not None and worker.rank == 0:
            save_state(running.state())
        if report is not None:
            report(progress)
    return FitResult(running.best, running.position)
