"""The cells of a study: which there are, and the config of each.

Comes in: a study file. Goes out: one cell for each dataset, seed and arm, beside the base of each dataset and seed, and
one of `longer` for each arm that is not a control, or for those that it names. A cell is an ordinary run directory
under its key. The config of `longer` is known when its arm is done: it has the arm's updates.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from rsir_scale.config.effect import effective_settings
from rsir_scale.config.file import resolve
from rsir_scale.config.settings import Config
from rsir_scale.errors import ConfigError
from rsir_scale.studies.controls import AA_SEED, NO_GENERATION, OVERRIDES, longer_overrides
from rsir_scale.studies.file import BASE, Arm, Control, StudyFile

FOLDER = "cells"
_LEARNED_LATER = ("training.synthetic_", "training.finetune_")
_OF_THE_BASE = ("data.", "model.", "training.", "evaluation.", "seed")


@dataclass(frozen=True)
class Cell:
    """One run of a study.

    Attributes:
        dataset: its name in the study; seed: the study's.
        name: of its folder, and of its row in a report.
        control: which one it is; None for the base and for an arm.
        overrides: on the base config.
        of: the arm whose updates it has (`longer`).
    """

    dataset: str
    seed: int
    name: str
    control: Control | None
    overrides: Mapping[str, JsonValue]
    of: str | None = None

    @property
    def key(self) -> str:
        """Where its run lies in the study's folder."""
        return f"{FOLDER}/{self.dataset}/{self.seed}/{self.name}"

    @property
    def is_base(self) -> bool:
        """Whether it is what everything is compared with."""
        return self.name == BASE

    def beside(self, name: str) -> str:
        """The key of another cell of this dataset and seed."""
        return f"{FOLDER}/{self.dataset}/{self.seed}/{name}"


def cells_of(file: StudyFile, seeds: Sequence[int]) -> tuple[Cell, ...]:
    """All cells, seed by seed, each base before what is compared with it.

    Raises:
        ConfigError: two cells would have one name.
    """
    kinds = _kinds(file)
    names = [kind[0] for kind in kinds]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ConfigError(f"arms gives two cells the name {twice!r}: rename the arm of that name")
    return tuple(
        Cell(dataset, seed, name, control, overrides, of)
        for seed in seeds
        for dataset in file.datasets
        for name, control, overrides, of in kinds
    )


_Kind = tuple[str, Control | None, Mapping[str, JsonValue], str | None]


def _kinds(file: StudyFile) -> list[_Kind]:
    """Name, control, overrides and arm of each cell of a dataset and seed; `longer` last."""
    arms = file.all_arms
    kinds: list[_Kind] = [(BASE, None, NO_GENERATION, None)]
    kinds += [(arm.name, arm.control, overrides_of(arm), None) for arm in arms if arm.control != "longer"]
    longer = [arm for arm in arms if arm.control == "longer"]
    kinds += [
        (f"{one.name}-of-{arm.name}", "longer", overrides_of(one), arm.name)
        for one in longer
        for arm in file.compared
        if one.of is None or arm.name in one.of
    ]
    return kinds


def overrides_of(arm: Arm) -> dict[str, JsonValue]:
    """What an arm sets: its control's settings beneath its own."""
    return {**({} if arm.control is None else OVERRIDES[arm.control]), **arm.overrides}


def config_of(file: StudyFile, cell: Cell, *, passes: int | None = None) -> Config:
    """The resolved config of a cell.

    Args:
        file: the study.
        cell: one of its cells.
        passes: of `longer`, see `controls.passes_of`; None before its arm is done, or for another cell.

    Raises:
        ConfigError: an override names no setting, or a value breaks its rule.
    """
    fixed: dict[str, JsonValue] = {
        "data.path": file.datasets[cell.dataset],
        "seed": cell.seed + (AA_SEED if cell.control == "aa" else 0),
        "training.threads": file.cell.cpus,
        "evaluation.cutoffs": list(file.cutoffs),
        **({} if passes is None else longer_overrides(passes)),
    }
    raw = dict(file.base)
    if "generation.augmenter" in cell.overrides:
        # Options of another augmenter would be read by nothing.
        raw.pop("augmenter", None)
    try:
        return resolve(_with_settings(raw, {**cell.overrides, **fixed}))
    except ConfigError as error:
        raise ConfigError(f"the config of {cell.name}: {error}") from error


def _with_settings(raw: Mapping[str, JsonValue], settings: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """Return `raw` with each `section.key` set."""
    result = {key: dict(value) if isinstance(value, dict) else value for key, value in raw.items()}
    for name, value in settings.items():
        section, dot, key = name.partition(".")
        inner = result.get(section) if dot else {}
        if inner is not None and not isinstance(inner, dict):
            raise ConfigError(f"base.{section} is a value, not a section, so {name} cannot be set: write a section")
        result[section] = {**(inner or {}), key: value} if dot else value
    return result


def base_settings(config: Config) -> dict[str, object]:
    """The settings that theta_0 and its evaluation depend on: cells in which they agree share theta_0."""
    settings = effective_settings(config).items()
    return {
        key: value for key, value in settings if key.startswith(_OF_THE_BASE) and not key.startswith(_LEARNED_LATER)
    }
