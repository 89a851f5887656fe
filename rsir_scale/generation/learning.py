"""Fitting what an iteration's augmenter learns, before it prepares and writes: here, or as one of several workers.

Comes in: an augmenter, or a run whose settings name it. Goes out: its weights, published once for the iteration. An
augmenter that learns nothing costs nothing.
"""

from collections.abc import Callable

from rsir_scale.augmenters.base import Augmenter
from rsir_scale.augmenters.opening import augmenter_of
from rsir_scale.runs.learned import has_learned
from rsir_scale.runs.run import Run
from rsir_scale.training.epoch import Progress
from rsir_scale.training.learned import fit_learner
from rsir_scale.training.worker import Worker

Report = Callable[[Progress], None]


def is_to_be_fitted(augmenter: Augmenter) -> bool:
    """Whether the iteration's augmenter learns something that is not published yet."""
    return augmenter.learns and not has_learned(augmenter.run.store, augmenter.iteration)


def fit_augmenter_locally(augmenter: Augmenter, report: Report | None = None) -> None:
    """Fit in this process, on the CPU, as the only worker.

    Args:
        augmenter: of a run and an iteration whose shard plan is stored.
        report: called after each interval.

    Raises:
        DivergedError: the loss, a weight or a score is not finite; the same command goes on from the last good state.
    """
    if is_to_be_fitted(augmenter):
        _fit(augmenter, Worker(), report)


def fit_share(run: Run, iteration: int, *, worker: Worker, report: Report | None) -> None:
    """Fit one worker's share; what every data-parallel worker does. Arguments and errors as of `fit_learner`."""
    _fit(augmenter_of(run, iteration), worker, report)


def _fit(augmenter: Augmenter, worker: Worker, report: Report | None) -> None:
    fit_learner(augmenter.run, augmenter.iteration, augmenter.learner(), worker=worker, report=report)
