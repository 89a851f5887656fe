"""What a run needs against what is there: refused before anything starts, because too little would be a silent wait.

Comes in: a config, its dataset and the nodes of the machine or cluster. Goes out: what each phase occupies, or an error
that names the setting. Training and generation never run at the same time, so each is held against the whole. Ray's
CPUs are tickets, not cores: a cluster that we start ourselves has at least four.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from rsir_scale.augmenters.opening import augmenter_named
from rsir_scale.config.settings import Config
from rsir_scale.data.dataset import PreparedDataset
from rsir_scale.errors import ConfigError
from rsir_scale.evaluation.metrics import check_metrics
from rsir_scale.training.checks import check_fit

LEAST_LOCAL_CPUS = 4


@dataclass(frozen=True)
class Node:
    """What one machine lends to Ray."""

    cpus: float
    gpus: float


@dataclass(frozen=True)
class Need:
    """Processes of one phase, each placed whole on one node.

    Attributes:
        phase: "training" or "generation".
        setting: the key that says how many.
        processes: how many.
        cpus: of each; gpus: of each.
    """

    phase: str
    setting: str
    processes: int
    cpus: int
    gpus: int


def needs(config: Config) -> tuple[Need, Need]:
    """What training and generation occupy. A process with a GPU occupies no CPU ticket."""
    training, generation = config.training, config.generation
    return (
        Need(
            phase="training",
            setting="training.workers",
            processes=training.workers,
            cpus=0 if training.use_gpu else training.threads,
            gpus=int(training.use_gpu),
        ),
        Need(
            phase="generation",
            setting="generation.actors",
            processes=generation.actors,
            cpus=0 if generation.use_gpu else 1,
            gpus=int(generation.use_gpu),
        ),
    )


def check_settings(config: Config, dataset: PreparedDataset) -> None:
    """Refuse settings that cannot work on a dataset, or for which something is not installed here.

    Raises:
        ConfigError: the setting, the rule and the way out.
        InputError: there is nothing to learn from.
    """
    augmenter_named(config).check(config, dataset)
    check_fit(config, dataset)
    check_metrics(config.evaluation, dataset.meta.items)


def check(config: Config, nodes: Sequence[Node]) -> None:
    """Refuse a config that these nodes cannot place.

    Raises:
        ConfigError: the setting, the rule and the way out.
    """
    for need in needs(config):
        places = sum(_places(need, node) for node in nodes)
        if need.gpus and places == 0:
            raise ConfigError(
                f"{need.phase}.use_gpu=true, but no GPU is there: set {need.phase}.use_gpu=false, or name a cluster "
                "that has one by RAY_ADDRESS"
            )
        if places < need.processes:
            raise ConfigError(_refusal(need, nodes, places))


def local_nodes(config: Config) -> tuple[Node, ...]:
    """The cluster of one node that a run starts on this machine; GPUs are looked for only where they are asked for."""
    asked = any(need.gpus for need in needs(config))
    return (Node(cpus=max(LEAST_LOCAL_CPUS, os.cpu_count() or 1), gpus=torch.cuda.device_count() if asked else 0),)


def _places(need: Need, node: Node) -> int:
    by_cpu = int(node.cpus // need.cpus) if need.cpus else need.processes
    by_gpu = int(node.gpus // need.gpus) if need.gpus else need.processes
    return min(by_cpu, by_gpu)


def _refusal(need: Need, nodes: Sequence[Node], places: int) -> str:
    cpus, gpus = sum(node.cpus for node in nodes), sum(node.gpus for node in nodes)
    each = f"{need.gpus} GPU" if need.gpus else f"{need.cpus} CPU{'s' if need.cpus > 1 else ''}"
    way_out = f"set {need.setting} to {places} or less" if places else "set training.threads lower"
    return (
        f"{need.setting}={need.processes} with {each} each cannot be placed: there are {cpus:g} logical CPUs and "
        f"{gpus:g} GPUs on {len(nodes)} node{'s' if len(nodes) > 1 else ''}, room for {places}, and the rest would "
        f"wait for ever: {way_out}, or use a larger cluster"
    )
