"""What no study can work with is refused before anything is written.

Comes in: a study file, its cells and the nodes there are. Goes out: nothing, or an error that names key, value, rule
and way out.
"""

from collections.abc import Sequence

from rsir_scale.config.effect import effective_settings
from rsir_scale.config.settings import Config
from rsir_scale.data.dataset import PreparedDataset, open_dataset
from rsir_scale.errors import ConfigError, InputError
from rsir_scale.loop.preflight import Node, check, check_settings, needs
from rsir_scale.studies.cells import Cell, base_settings, cells_of, config_of
from rsir_scale.studies.file import StudyFile

LEAST_USERS = 10
_GIB = 1 << 30


def check_study(file: StudyFile, nodes: Sequence[Node], *, memory_bytes: int | None = None) -> None:
    """Refuse what cannot be compared, or not here.

    Args:
        file: the study.
        nodes: of the machine or cluster.
        memory_bytes: of the largest node; None where it is not known.

    Raises:
        ConfigError: two arms are the same, a setting does not go with a dataset, or a cell fits on no node.
        InputError: a dataset is missing, malformed or too small.
    """
    for name, path in file.datasets.items():
        dataset = open_dataset(path)
        _check_dataset(file, name, dataset)
        cells = [cell for cell in cells_of(file, file.seeds[:1]) if cell.dataset == name]
        configs = {cell.name: config_of(file, cell) for cell in cells}
        _refuse_equal_arms(cells, configs)
        for cell_name, config in configs.items():
            _check_config(file, cell_name, config, dataset, nodes)
    _check_place(file, nodes, memory_bytes)


def _check_dataset(file: StudyFile, name: str, dataset: PreparedDataset) -> None:
    tested = int((dataset.held_out().test > 0).sum())
    if tested < LEAST_USERS:
        raise InputError(
            f"datasets.{name}={dataset.path} has {tested} users with a test item, and an interval over users needs "
            f"{LEAST_USERS}: import a longer log"
        )
    largest = max(file.cutoffs)
    if largest >= dataset.meta.items:
        raise ConfigError(
            f"cutoffs={list(file.cutoffs)}: every item is among the best {largest} of the {dataset.meta.items} of "
            f"datasets.{name}: name smaller cutoffs, or a larger dataset"
        )


def _refuse_equal_arms(cells: Sequence[Cell], configs: dict[str, Config]) -> None:
    seen: dict[str, str] = {}
    for cell in cells:
        if cell.control in ("aa", "longer"):
            continue
        settings = _identity(configs[cell.name])
        if settings in seen:
            raise ConfigError(
                f"arms.{cell.name} sets nothing that {seen[settings]} does not: it would be the same run again; give "
                "it an override such as generation.augmenter, or leave it out"
            )
        seen[settings] = cell.name


def _identity(config: Config) -> str:
    """What tells two cells apart: a run without generation is what its base is."""
    if config.loop.iterations == 0:
        return repr(sorted(base_settings(config).items()))
    loop = config.loop
    return repr((sorted(effective_settings(config).items()), loop.iterations, loop.patience))


def _check_config(file: StudyFile, name: str, config: Config, dataset: PreparedDataset, nodes: Sequence[Node]) -> None:
    try:
        check_settings(config, dataset)
        if file.cell.where == "ray":
            check(config, nodes)
        else:
            _refuse_what_one_process_cannot(config)
    except ConfigError as error:
        raise ConfigError(f"the config of {name}: {error}") from error


def _refuse_what_one_process_cannot(config: Config) -> None:
    for need in needs(config):
        if need.gpus:
            raise ConfigError(
                f"{need.phase}.use_gpu=true, but a cell in a process computes on the CPU: set {need.phase}.use_gpu="
                "false, or cell.where=ray"
            )
    if config.training.workers > 1:
        raise ConfigError(
            f"training.workers={config.training.workers}, but a cell in a process has one: set training.workers=1, or "
            "cell.where=ray"
        )


def _check_place(file: StudyFile, nodes: Sequence[Node], memory_bytes: int | None) -> None:
    cell = file.cell
    cpus = max((node.cpus for node in nodes), default=0)
    if cell.cpus > cpus:
        raise ConfigError(
            f"cell.cpus={cell.cpus}, but no node has more than {cpus:g} CPUs: no cell would ever start; set it lower, "
            "or name a larger cluster by RAY_ADDRESS"
        )
    gpus = sum(node.gpus for node in nodes)
    if cell.gpus > gpus:
        raise ConfigError(
            f"cell.gpus={cell.gpus}, but the cluster has {gpus:g} GPUs: set it lower, or use a larger one"
        )
    if cell.gpus and cell.where == "process":
        raise ConfigError(f"cell.gpus={cell.gpus}, but a cell in a process computes on the CPU: set cell.where=ray")
    if cell.memory_gib is not None and memory_bytes is not None and cell.memory_gib * _GIB > memory_bytes:
        raise ConfigError(
            f"cell.memory_gib={cell.memory_gib:g}, but no node has more than {memory_bytes / _GIB:.1f} GiB: set it "
            "lower"
        )
