"""The metrics of a stored model, computed again and set beside those that the run recorded: `rsir evaluate`."""

from typing import Any

from rsir_scale.data.dataset import PreparedDataset
from rsir_scale.errors import InputError
from rsir_scale.evaluation.evaluate import rank_targets, test_set, validation_set
from rsir_scale.evaluation.iteration import read_evaluation
from rsir_scale.evaluation.metrics import summarise
from rsir_scale.models.repository import load_trained
from rsir_scale.runs.begun import check_dataset, read_config
from rsir_scale.runs.trained import has_model
from rsir_scale.storage.base import Store


def reevaluate(store: Store, dataset: PreparedDataset, iteration: int) -> dict[str, Any]:
    """Rank all held-out items over the full catalogue by theta_k.

    Returns:
        `iteration`, `mask_history` and `catalogue` (the protocol), `users` with a validation and a test item, `metrics`
        as computed now, and `recorded`, those of the run (None before it evaluated).

    Raises:
        InputError: the run has no such model, or the dataset is not the run's.
        IntegrityError: its weights are damaged.
    """
    if iteration < 0 or not has_model(store, iteration):
        raise InputError(
            f"iteration {iteration} of {store.root} has no model: see `rsir status {store.root}` for those that have"
        )
    check_dataset(store, dataset)
    mask_history = read_config(store).evaluation.mask_history
    training, held_out = dataset.training_sequences(), dataset.held_out()
    backbone = load_trained(store, iteration, item_name=dataset.item_name)
    metrics: dict[str, float] = {}
    users: dict[str, int] = {}
    for name, chosen in (("validation", validation_set), ("test", test_set)):
        ranks = rank_targets(backbone, chosen(training, held_out), mask_history=mask_history)
        metrics |= summarise(ranks, prefix=name)
        users[name] = len(ranks)
    recorded = read_evaluation(store, iteration)
    return {
        "iteration": iteration,
        "mask_history": mask_history,
        "catalogue": dataset.meta.items,
        "users": users,
        "metrics": metrics,
        "recorded": None if recorded is None else recorded.metrics,
    }
