"""A fit of a run, taken up where the last attempt saved it.

Comes in: a learner, and where its state is kept. Goes out: what was fitted; the state stays until the caller has
published that. A damaged state costs time alone: the fit begins again and ends in the same weights.
"""

from collections.abc import Callable

from torch import Tensor

from rsir_scale.errors import IntegrityError
from rsir_scale.runs import events
from rsir_scale.runs.events import append_event
from rsir_scale.storage.base import Store
from rsir_scale.training.epoch import FitResult, Progress, fit
from rsir_scale.training.learner import Learner, Model
from rsir_scale.training.state import FitState, StateFiles
from rsir_scale.training.worker import Worker


def resumed_fit(
    store: Store,
    iteration: int,
    learner: Learner[Model],
    *,
    saved: StateFiles,
    worker: Worker,
    warm_start: dict[str, Tensor] | None = None,
    report: Callable[[Progress], None] | None = None,
) -> FitResult:
    """Bring a fit to its end, and save it after each interval.

    Args:
        store: the run.
        iteration: k, for the event that tells of a damaged state.
        learner: what is learned.
        saved: where its state is kept.
        worker: this process's place among the data-parallel ones.
        warm_start: weights to begin with, where no state was saved.
        report: called after each interval.

    Raises:
        DivergedError: the loss, a weight or a score is not finite.
        StorageFullError: no room for the state.
    """
    return fit(
        learner,
        worker,
        resume_from=_last_state(store, iteration, learner.name, saved, worker),
        warm_start=warm_start,
        save_state=saved.write,
        report=report,
    )


def _last_state(store: Store, iteration: int, name: str, saved: StateFiles, worker: Worker) -> FitState | None:
    """Where the fit goes on; None where it begins, or has to begin again."""
    try:
        return saved.read()
    except IntegrityError as error:
        if worker.rank == 0:
            append_event(store, events.TRAINING_RESTARTED, {"iteration": iteration, "fit": name, "why": str(error)})
        return None
