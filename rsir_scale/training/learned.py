"""Fitting what an augmenter learns: from its learner to the iteration's published weights, and back from these.

The same function runs in this process and in every Ray Train worker. It resumes from the state that the last attempt
saved, in a folder apart from theta_k's, and does nothing where the weights are published.
"""

from collections.abc import Callable

from rsir_scale.models.checkpoint import with_weights
from rsir_scale.models.shards import read_pieces, write_shards
from rsir_scale.runs import layout
from rsir_scale.runs.learned import LearnedModel, has_learned, publish_learned, read_learned
from rsir_scale.runs.run import Run
from rsir_scale.storage.base import Store
from rsir_scale.training.epoch import FitResult, Progress
from rsir_scale.training.learner import Learner, Model
from rsir_scale.training.resuming import resumed_fit
from rsir_scale.training.state import StateFiles
from rsir_scale.training.worker import Worker


def fit_learner(
    run: Run,
    iteration: int,
    learner: Learner[Model],
    *,
    worker: Worker,
    report: Callable[[Progress], None] | None = None,
) -> None:
    """Fit on this worker's share and, on rank 0, publish the weights with the best score.

    Args:
        run: the run.
        iteration: k.
        learner: what the iteration's augmenter learns.
        worker: this process's place among the data-parallel ones.
        report: called after each interval.

    Raises:
        DivergedError: the loss, a weight or a score is not finite; the state before is kept.
    """
    store = run.store
    if has_learned(store, iteration):
        return
    saved = StateFiles(store, layout.learning(iteration))
    result = resumed_fit(store, iteration, learner, saved=saved, worker=worker, report=report)
    if worker.rank != 0:
        return
    _publish(store, iteration, learner, result)
    saved.delete()


def load_learned_weights(store: Store, iteration: int, model: Model, *, device: str = "cpu") -> Model:
    """Give a model that was just built the weights that were fitted for the iteration.

    Args:
        store: of the run.
        iteration: whose augmenter.
        model: built as the learner builds it; its own weights are replaced.
        device: where it goes.

    Returns:
        The model, in evaluation mode.

    Raises:
        ObjectMissingError: nothing was fitted.
        IntegrityError: the weights are damaged, not finite, or of another model.
    """
    return with_weights(model, read_pieces(store, read_learned(store, iteration).weights), device=device)


def _publish(store: Store, iteration: int, learner: Learner[Model], result: FitResult) -> None:
    attempt, position = layout.new_attempt(), result.position
    weights = write_shards(
        store, result.weights, key=lambda part: layout.learned_weights(iteration, attempt, part), kind="learned"
    )
    model = LearnedModel(
        name=learner.name,
        weights=weights,
        updates=position.update,
        best_update=position.best_update,
        score_name=learner.score_name,
        score=position.best_score,
        seconds=position.seconds,
        curve=position.curve,
    )
    publish_learned(store, iteration, model)
