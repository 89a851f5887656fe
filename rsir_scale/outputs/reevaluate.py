"""The metrics of a stored model, computed again and set beside those that the run recorded: `rsir evaluate`."""

from typing import Any

from rsir_scale.errors import InputError
from rsir_scale.evaluation.evaluate import rank_sets, test_set, validation_set
from rsir_scale.evaluation.iteration import masked_targets
from rsir_scale.evaluation.metrics import summarise
from rsir_scale.models.repository import load_trained
from rsir_scale.runs.begun import check_dataset
from rsir_scale.runs.evaluated import read_evaluation
from rsir_scale.runs.run import Run
from rsir_scale.runs.trained import has_model
from rsir_scale.steps import Tell, counted, silent


def reevaluate(run: Run, iteration: int, tell: Tell = silent) -> dict[str, Any]:
    """Rank all held-out items over the full catalogue by theta_k.

    Args:
        run: of the model.
        iteration: k.
        tell: is told how many users' items are ranked.

    Returns:
        `iteration`, `mask_history` and `catalogue` (the protocol), `users` with a validation and a test item,
        `masked_targets`, those of these items that the mask hides, `metrics` as computed now, and `recorded`, those of
        the run (None before it evaluated).

    Raises:
        InputError: the run has no such model, or the dataset is not the run's.
        IntegrityError: its weights are damaged.
    """
    store, dataset, protocol = run.store, run.dataset, run.config.evaluation
    if iteration < 0 or not has_model(store, iteration):
        raise InputError(
            f"iteration {iteration} of {store.root} has no model: see `rsir status {store.root}` for those that have"
        )
    check_dataset(run)
    training, held_out = dataset.training_sequences(), dataset.held_out()
    backbone = load_trained(run, iteration)
    sets = {"validation": validation_set(training, held_out), "test": test_set(training, held_out)}
    metrics: dict[str, float] = {}
    found = rank_sets(
        backbone,
        sets,
        mask_history=protocol.mask_history,
        cap=protocol.largest_cutoff,
        tell=counted(tell, "evaluating", sum(len(users.targets) for users in sets.values()), "target"),
    )
    for name, ranks in found.items():
        metrics |= summarise(ranks, protocol, prefix=name)
    recorded = read_evaluation(store, iteration)
    return {
        "iteration": iteration,
        "mask_history": protocol.mask_history,
        "catalogue": dataset.meta.items,
        "users": {name: len(users.targets) for name, users in sets.items()},
        "masked_targets": masked_targets(sets, protocol),
        "metrics": metrics,
        "recorded": None if recorded is None else recorded.metrics,
    }
