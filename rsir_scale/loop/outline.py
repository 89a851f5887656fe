"""What a run would do, before it does it: `rsir plan`.

Comes in: a config, its dataset and the nodes there are. Goes out: one JSON-ready mapping. Iteration 0 is known exactly;
what later iterations generate from depends on what is accepted, so their figures are upper bounds, and are named so.
"""

from collections.abc import Sequence
from typing import Any

from rsir_scale.augmenters.opening import augmenter_named
from rsir_scale.config.settings import Config
from rsir_scale.data.dataset import PreparedDataset
from rsir_scale.loop.preflight import Need, Node, check_settings, needs
from rsir_scale.models.repository import try_teacher
from rsir_scale.runs.teacher import find_teacher
from rsir_scale.runs.trained import weights_sha256
from rsir_scale.training.task import budget_of, settings_of

_COUNTED = 10**18  # more sources than that are said to be so many


def outline(config: Config, dataset: PreparedDataset, nodes: Sequence[Node]) -> dict[str, Any]:
    """Describe a run.

    Raises:
        ConfigError: the settings cannot work on this dataset.
        InputError: there is nothing to learn from, or the teacher does not fit.
    """
    check_settings(config, dataset)
    meta = dataset.meta
    training, generation = needs(config)
    return {
        "dataset": dataset.path,
        "users": meta.users,
        "items": meta.items,
        "training_pairs": meta.training_pairs,
        "config_fingerprint": config.fingerprint(),
        "teacher": _teacher(config, dataset),
        "nodes": len(nodes),
        "cpus": sum(node.cpus for node in nodes),
        "gpus": sum(node.gpus for node in nodes),
        "training": _resources(training),
        "generation": _resources(generation),
        "iterations": _iterations(config, dataset),
    }


def _teacher(config: Config, dataset: PreparedDataset) -> dict[str, Any] | None:
    found = find_teacher(config, dataset)
    if found is None:
        return None
    try_teacher(found)
    model = found.model
    return {"model": found.name, "width": model.description.model.width, "sha256": weights_sha256(model.weights)}


def _resources(need: Need) -> dict[str, int]:
    return {"processes": need.processes, "cpus_each": need.cpus, "gpus_each": need.gpus}


def _iterations(config: Config, dataset: PreparedDataset) -> list[dict[str, Any]]:
    real = dataset.training_sequences()
    augmenter, users, last = augmenter_named(config), dataset.meta.users, config.loop.iterations
    trials = augmenter.trials_of(config, dataset)
    described = []
    sources = users
    for iteration in range(last + 1):
        updates = budget_of(settings_of(config, iteration), real).maximum
        entry: dict[str, Any] = {"iteration": iteration, "updates_at_most": updates}
        if iteration < last:
            entry |= {
                "sources_at_most": sources,
                "shards_at_most": -(-sources // config.generation.shard_sources),
                "trials_at_most": sources * trials,
            }
            added = 0 if config.generation.sources == "real" else sources * trials
            # A source whose rows stand in its place is there no more.
            sources = max(sources, added) if augmenter.replaces_source else sources + added
            sources = min(sources, _COUNTED)
        described.append(entry)
    return described
