"""The study file: which arms, on which datasets, with which seeds, judged by what.

Comes in: a YAML file. Goes out: a `StudyFile` that leaves nothing open, its base config read in, or a `ConfigError`
with key, value and rule. docs/studies.md explains every key. What the arms mean is the business of `controls` and
`cells`.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue, ValidationError, field_validator

from rsir_scale.config.file import read_sections
from rsir_scale.config.fitting import NotBool, Positive, PositiveInt, Section
from rsir_scale.errors import ConfigError, first_fault
from rsir_scale.evaluation.metrics import METRICS
from rsir_scale.storage.opening import is_address

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
BASE = "base"
CONTROL, OF = "control", "of"
Control = Literal["aa", "longer", "copies", "random"]
CONTROLS: tuple[Control, ...] = ("aa", "longer", "copies", "random")
_NEEDED: tuple[Control, ...] = ("aa", "longer")
_OVERRIDE = re.compile(r"[a-z_]+\.\w+")
_SET_BY_THE_STUDY = frozenset({"data.path", "training.threads", "evaluation.cutoffs"})
_PATHS = frozenset({"model.item_vectors", "generation.teacher"})
Seed = Annotated[int, NotBool, Field(ge=0, lt=2**62)]


class CellSettings(Section):
    """What one cell occupies while it is made."""

    cpus: PositiveInt = Field(default=1, description="CPUs of a cell, and training.threads of its run")
    gpus: Annotated[int, NotBool, Field(ge=0, le=1024)] = Field(
        default=0, description="GPUs that the cluster must have; with `where: ray` alone"
    )
    memory_gib: Positive | None = Field(default=None, description="memory that a cell reserves; none: nothing")
    where: Literal["process", "ray"] = Field(
        default="process",
        description="process: one process computes a cell, as many cells at once as fit; ray: cells one after another, "
        "each with Ray Train and Ray Data over the whole cluster",
    )


class Arm(Section):
    """A way of training that is compared: overrides on the base config, or a control with overrides of its own.

    `of` has the arms that `longer` is trained for; none: all of them.
    """

    name: str
    control: Control | None = None
    of: tuple[str, ...] | None = None
    overrides: dict[str, JsonValue] = Field(default={})


class StudyFile(Section):
    """A study as its author wrote it; `base` holds sections once it was read by `load_study_file`."""

    base: dict[str, JsonValue] = Field(description="sections of a config, or the path of one")
    datasets: dict[str, str] = Field(min_length=1, description="name → folder or address of a prepared dataset")
    seeds: tuple[Seed, ...] = Field(min_length=1, description="each cell is made once for each of them")
    arms: dict[str, dict[str, JsonValue]] = Field(
        min_length=1, description="name → overrides such as {generation.augmenter: dr4sr}, or {control: aa}"
    )
    metric: str = Field(default="NDCG@10", description="what decides: it chooses iterations, and has the verdict")
    cutoffs: tuple[PositiveInt, ...] = Field(default=(10, 20), min_length=1, description="the n of the metrics @n")
    without_controls: str | None = Field(
        default=None, min_length=10, description="why there is no A/A or no longer training; needed where one is absent"
    )
    cell: CellSettings = CellSettings()

    @field_validator("arms", mode="before")
    @classmethod
    def _an_arm_without_overrides_is_the_base_config(cls, value: Any) -> Any:
        return {name: {} if arm is None else arm for name, arm in value.items()} if isinstance(value, dict) else value

    @field_validator("datasets", "arms")
    @classmethod
    def _names_are_folders(cls, value: dict[str, Any]) -> dict[str, Any]:
        for name in value:
            if not NAME.fullmatch(name) or name == BASE:
                raise ValueError(
                    f"{name!r} cannot name a folder, or it is {BASE!r}, which every study has: use letters, digits, "
                    "'_', '.' and '-'"
                )
        return value

    @field_validator("seeds", "cutoffs")
    @classmethod
    def _each_once(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(value)) < len(value):
            raise ValueError(f"{list(value)} names one twice: name each once")
        return value

    @property
    def all_arms(self) -> tuple[Arm, ...]:
        """The arms in the file's order."""
        return tuple(_arm(name, settings) for name, settings in self.arms.items())

    def has_control(self, control: Control) -> bool:
        """Whether an arm is this control."""
        return any(arm.control == control for arm in self.all_arms)

    @property
    def compared(self) -> tuple[Arm, ...]:
        """The arms that are not controls."""
        return tuple(arm for arm in self.all_arms if arm.control is None)


def load_study_file(path: str | Path) -> StudyFile:
    """Read a study file, and the config that its `base` names; paths are relative to the folder of the call.

    Raises:
        ConfigError: a file cannot be read, a key is unknown, or a value breaks its rule.
    """
    raw = read_sections(path, kind="study file")
    if isinstance(raw.get("base"), str):
        raw = {**raw, "base": read_sections(raw["base"])}
    return _with_absolute_paths(parse_study_file(raw, str(path)))


def _with_absolute_paths(file: StudyFile) -> StudyFile:
    """Name files so that workers find them, whatever folder they run in."""
    base: dict[str, JsonValue] = {
        section: {key: _absolute(f"{section}.{key}", value) for key, value in values.items()}
        if isinstance(values, dict)
        else values
        for section, values in file.base.items()
    }
    arms = {name: {key: _absolute(key, value) for key, value in arm.items()} for name, arm in file.arms.items()}
    datasets = {name: path if is_address(path) else str(Path(path).resolve()) for name, path in file.datasets.items()}
    return file.model_copy(update={"base": base, "arms": arms, "datasets": datasets})


def _absolute(key: str, value: JsonValue) -> JsonValue:
    if key not in _PATHS or not isinstance(value, str) or is_address(value):
        return value
    return str(Path(value).resolve())


def parse_study_file(raw: Mapping[str, Any], name: str) -> StudyFile:
    """Validate what a study file holds. Raises ConfigError; `name` says where it came from."""
    try:
        file = StudyFile.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(f"study file {name}: {first_fault(error)}; see docs/studies.md") from error
    check_metric(file)
    if not file.compared:
        raise ConfigError(
            f"study file {name}: arms holds controls alone: add an arm to compare with them, `rsir: {{}}`"
        )
    _check_controls(file, name)
    return file


def _check_controls(file: StudyFile, name: str) -> None:
    """See that each arm has its controls, or that the file says why not. Raises ConfigError."""
    arms = {arm.name for arm in file.compared}
    chosen = {arm.name: set(arm.of) for arm in file.all_arms if arm.of is not None}
    for control, of in chosen.items():
        if of - arms:
            raise ConfigError(
                f"study file {name}: arms.{control}.of names {min(of - arms)!r}, which is none of the arms "
                f"{', '.join(sorted(arms))}: name arms that are not controls, or leave `of` out for all of them"
            )
    if file.without_controls is not None:
        return
    missing = [control for control in _NEEDED if not file.has_control(control)]
    if missing:
        raise ConfigError(
            f"study file {name}: arms has no control {' and no control '.join(missing)}, without which a difference "
            f"may be chance or longer training: add `{missing[0]}: {{control: {missing[0]}}}`, or say why not in "
            "without_controls"
        )
    for control, of in chosen.items():
        if arms - of:
            raise ConfigError(
                f"study file {name}: arms.{control}.of leaves out {', '.join(sorted(arms - of))}: say why in "
                "without_controls, or leave `of` out for all arms"
            )


def check_metric(file: StudyFile) -> None:
    """See that the study's metric is one that is computed. Raises ConfigError."""
    metric, _, cutoff = file.metric.partition("@")
    if metric not in METRICS or cutoff not in {str(known) for known in file.cutoffs}:
        raise ConfigError(
            f"metric={file.metric!r} is none of {', '.join(METRICS)} at one of cutoffs={list(file.cutoffs)}: write for "
            f"example NDCG@{file.cutoffs[0]}"
        )


def _arm(name: str, settings: Mapping[str, JsonValue]) -> Arm:
    """Read one arm. Raises ConfigError."""
    control, of = settings.get(CONTROL), settings.get(OF)
    overrides = {key: value for key, value in settings.items() if key not in (CONTROL, OF)}
    for key in overrides:
        if not _OVERRIDE.fullmatch(key) or key in _SET_BY_THE_STUDY:
            raise ConfigError(
                f"arms.{name}.{key} is not a setting that an arm may have: write section.key, such as "
                "generation.augmenter; the study sets seed, data.path, evaluation.cutoffs (cutoffs) and "
                "training.threads (cell.cpus)"
            )
    if control is not None and control not in CONTROLS:
        raise ConfigError(f"arms.{name}.control={control!r} is none of {', '.join(CONTROLS)}")
    if of is not None and (control != "longer" or not isinstance(of, list) or not of):
        raise ConfigError(
            f"arms.{name}.of={of!r} is for the control longer alone, a list of arms: write `{{control: longer, "
            "of: [rsir]}}`"
        )
    try:
        return Arm.model_validate({"name": name, "control": control, "of": of, "overrides": overrides})
    except ValidationError as error:
        raise ConfigError(f"arms.{name}: {first_fault(error)}") from error
