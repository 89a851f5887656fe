"""Training theta_k of a run: from the files of D_k to the iteration's published model.

The same function runs in this process and in every Ray Train worker. It resumes from the state that the last attempt
saved (`resuming`), and leaves the model behind when the budget or the patience is spent.
"""

from collections.abc import Callable

from rsir_scale.data.vectors import read_item_vectors
from rsir_scale.evaluation.evaluate import validation_set
from rsir_scale.models.checkpoint import copy_weights, describe
from rsir_scale.models.repository import load_trained, publish_weights
from rsir_scale.runs import layout
from rsir_scale.runs.lineage import load, load_first_targets, stand_in_place, training_files
from rsir_scale.runs.run import Run
from rsir_scale.runs.trained import TrainedModel, publish_model
from rsir_scale.training.epoch import Progress
from rsir_scale.training.recommender import Recommender
from rsir_scale.training.resuming import resumed_fit
from rsir_scale.training.state import StateFiles
from rsir_scale.training.task import TrainingTask, budget_of, sequence_weights, settings_of, starts_warm
from rsir_scale.training.worker import Worker


def training_task(run: Run, iteration: int) -> TrainingTask:
    """Assemble the fit of theta_k: D_k, validation users and the budget in updates of D_0.

    Raises:
        IntegrityError: a file of D_k is not what its manifest says.
        InputError: there is nothing to learn from, or the file of item vectors has a fault.
    """
    config, dataset = run.config, run.dataset
    vectors = config.model.item_vectors
    settings = settings_of(config, iteration)
    real = dataset.training_sequences()
    sequences, first_targets, real_count = real, None, dataset.meta.users
    if iteration:
        files = training_files(run, iteration)
        sequences = load(run, files)
        first_targets = load_first_targets(run, files)
        if stand_in_place(files):
            real_count = int(sequences.ids.max()) + 1
    return TrainingTask(
        sequences=sequences,
        real_count=real_count,
        weights=sequence_weights(sequences, real_count=real_count, synthetic_weight=config.training.synthetic_weight),
        validation=validation_set(real, dataset.held_out()),
        description=describe(config, dataset),
        config=settings,
        budget=budget_of(settings, real),
        identity=(config.seed, iteration),
        mask_history=config.evaluation.mask_history,
        item_vectors=None if vectors is None else read_item_vectors(vectors, dataset.item_ids()),
        first_targets=first_targets,
    )


def train_iteration(
    run: Run,
    iteration: int,
    *,
    worker: Worker,
    report: Callable[[Progress], None] | None = None,
    task: TrainingTask | None = None,
) -> None:
    """Fit theta_k on this worker's share and, on rank 0, publish the model.

    Args:
        run: its `loop.variant=finetune` starts from the weights of theta_{k-1}.
        iteration: k.
        worker: this process's place among the data-parallel ones.
        report: called after each validation.
        task: what is fitted; None for what `training_task` makes of the run.
    """
    store, task = run.store, task or training_task(run, iteration)
    saved = StateFiles(store, layout.training(iteration))
    warm_start = None
    if starts_warm(run.config, iteration):
        warm_start = copy_weights(load_trained(run, iteration - 1))
    recommender = Recommender(task, name=f"the recommender of iteration {iteration}")
    result = resumed_fit(
        store, iteration, recommender, saved=saved, worker=worker, warm_start=warm_start, report=report
    )
    if worker.rank != 0:
        return
    position = result.position
    publish_model(
        store,
        iteration,
        TrainedModel(
            description=task.description,
            weights=publish_weights(store, iteration, result.weights, attempt=layout.new_attempt()),
            updates=position.update,
            best_update=position.best_update,
            validation_score=position.best_score,
            train_s=position.seconds,
            curve=position.curve,
            encoder=recommender.encoder,
        ),
    )
    saved.delete()
