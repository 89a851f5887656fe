"""A config from a YAML file and overrides: explicit keys over presets over defaults, and every fault in one line.

Comes in: what a user wrote. Goes out: a resolved `Config`, or a `ConfigError` with key, value and rule.
"""

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from rsir_scale.config.augmenters import augmenter_class, options_of
from rsir_scale.config.effect import effective_settings
from rsir_scale.config.settings import Config
from rsir_scale.config.strict_yaml import MAX_BYTES, NotYamlError, parse_yaml
from rsir_scale.errors import ConfigError, shown

_FAULTS_SHOWN = 10
_FAULT_CHARACTERS = 500
_KEY_CHARACTERS = 80
_PAGE = "docs/configuration.md"
_VALUES = re.compile("'([^']+)'")  # that a message of pydantic's lists

# What each value of a preset's key fills in, by section; `paper` stands for the defaults.
PRESETS: dict[str, dict[str, dict[str, dict[str, Any]]]] = {
    # The strong bases of docs/results.md, and how synthetic sequences reach them.
    "training.preset": {
        "strong": {
            "model": {
                "width": 128,
                "norm": "pre",
                "feed_forward": 256,
                "embedding_scale": True,
                "similarity": "cosine",
            },
            "training": {
                "loss": "cross_entropy",
                "batch_size": 512,
                # For whoever samples after all:
                "negatives": 4096,
                "logq_correction": True,
                # After 30 passes nearly as far as a constant rate comes in 55.
                "schedule": "linear",
                "learning_rate": 2e-3,
                "max_epochs": 30,
                "patience": 30,
                "finetune_learning_rate": 1e-3,
                "finetune_epochs": 15,
                # Shuffled together they cost the base a few per cent.
                "synthetic_share": 0.25,
            },
        }
    },
    "generation.reading": {
        "released": {
            "generation": {"start": "first", "choice": "greedy", "min_length": 3, "max_length": 50},
            "fidelity": {"remaining": "after_choice"},
        }
    },
}


def deviations(config: Config) -> tuple[str, ...]:
    """Keys whose value is not the default that the config's presets give: what a user must have chosen."""
    augmenter = augmenter_class(config.generation.augmenter)
    presets = {"preset": config.training.preset}, {"reading": config.generation.reading}
    raw = {"data": {"path": config.data.path}, "training": presets[0], "generation": presets[1]}
    # Not validated: an option may have no default, or one that only goes with other values.
    options = augmenter.Options.model_construct().model_dump(mode="json")
    left_open = _preset(raw).model_copy(update={"augmenter": options})
    own = {"generation.augmenter": config.generation.augmenter}
    defaults, chosen = effective_settings(left_open) | own, effective_settings(config)
    return tuple(key for key in sorted(chosen) if chosen[key] != defaults.get(key))


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Read a YAML file, apply `section.key=value` overrides and resolve the presets.

    Raises:
        ConfigError: the file is missing or no mapping, a key is unknown, or a value breaks its rule.
    """
    return resolve(apply_overrides(read_sections(path), overrides))


def read_sections(path: str | Path, *, kind: str = "config") -> dict[str, Any]:
    """Read a YAML file of keys, unresolved.

    Args:
        path: of the file.
        kind: what the file is called in messages.

    Raises:
        ConfigError: it cannot be read, is not YAML that settings are written in, or holds no mapping.
    """
    try:
        with Path(path).open("rb") as file:
            text = file.read(MAX_BYTES + 1).decode("utf-8")
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{kind} {shown(str(path))} cannot be read ({str(error)[:_FAULT_CHARACTERS]}): name an existing YAML file, "
            "in UTF-8"
        ) from error
    try:
        raw = parse_yaml(text)
    except NotYamlError as error:
        raise ConfigError(f"{kind} {path} is not YAML that can be read: {error}") from error
    if not isinstance(raw, dict):
        raise ConfigError(
            f"{kind} {path} holds {type(raw).__name__}, not sections: write `data: {{path: …}}` and so on"
        )
    return raw


def apply_overrides(raw: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Return `raw` with each `section.key=value` set; values are read as YAML scalars."""
    result: dict[str, Any] = {key: dict(value) if isinstance(value, dict) else value for key, value in raw.items()}
    for override in overrides:
        name, equals, value = override.partition("=")
        section, dot, key = name.strip().partition(".")
        if not equals or "." in key or (dot and not key):
            raise ConfigError(f"--set {shown(override)} is not section.key=value: write for example --set seed=7")
        try:
            parsed = parse_yaml(value)
        except NotYamlError as error:
            raise ConfigError(f"--set {shown(override)}: the value is not YAML that can be read ({error})") from error
        if not dot:
            result[section] = parsed
        else:
            if result.get(section) is None:
                result[section] = {}
            target = result[section]
            if not isinstance(target, dict):
                raise ConfigError(f"--set {shown(override)}: {_name(section)} is a value, not a section")
            target[key] = parsed
    return result


def resolve(raw: Mapping[str, Any]) -> Config:
    """Fill the presets' defaults beneath the explicit keys and validate everything.

    Raises:
        ConfigError: one line for each fault, with the key, the value and the rule.
    """
    return with_augmenter(_preset(raw))


def _preset(raw: Mapping[str, Any]) -> Config:
    """The presets' defaults beneath the explicit keys, validated but for what belongs to the augmenter."""
    # A section of which YAML holds the name only is None: all its defaults.
    merged = {
        key: dict(value) if isinstance(value, Mapping) else value for key, value in raw.items() if value is not None
    }
    for key, presets in PRESETS.items():
        for section, defaults in presets.get(_chosen(raw, key), {}).items():
            explicit = merged.get(section) or {}
            if isinstance(explicit, Mapping):
                merged[section] = {**defaults, **explicit}
    try:
        return Config.model_validate(merged)
    except ValidationError as error:
        raise ConfigError(_told(error)) from error


def _told(error: ValidationError) -> str:
    faults = error.errors()
    lines = [_fault(fault)[:_FAULT_CHARACTERS] for fault in faults[:_FAULTS_SHOWN]]
    more = [f"and {len(faults) - _FAULTS_SHOWN} more"] if len(faults) > _FAULTS_SHOWN else []
    return "\n".join([*lines, *more])


def with_augmenter(config: Config) -> Config:
    """Fill in the options that the named augmenter leaves open.

    Raises:
        ConfigError: the class cannot be imported, or an option is unknown or breaks its rule.
    """
    return config.model_copy(update={"augmenter": options_of(config).model_dump(mode="json")})


def _chosen(raw: Mapping[str, Any], key: str) -> str:
    section, _, name = key.partition(".")
    values = raw.get(section)
    return str(values.get(name)) if isinstance(values, Mapping) else ""


def _fault(fault: Any) -> str:
    key = ".".join(_name(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        return f"{key} is not a setting: {_near(key, _keys())}see the sections and keys in {_PAGE}"
    if fault["type"] == "missing":
        return f"{key} is missing: set it in the config or with --set {key}=…"
    if fault["type"] == "value_error":
        # A section's own rules name their keys; one of a single field does not.
        text = str(fault["msg"]).removeprefix("Value error, ")
        return text if isinstance(fault["input"], Mapping) else f"{key}={shown(fault['input'])}: {text}: see {_PAGE}"
    meant = _near(str(fault["input"]), _VALUES.findall(fault["msg"])) if fault["type"] == "literal_error" else ""
    return f"{key}={shown(fault['input'])}: {meant}{fault['msg']}; see {_PAGE} for what it takes"


def _keys() -> list[str]:
    """Every section, and every key of a section."""
    sections = {name: field.annotation for name, field in Config.model_fields.items()}
    return [
        *sections,
        *(
            f"{name}.{key}"
            for name, section in sections.items()
            if isinstance(section, type) and issubclass(section, BaseModel)
            for key in section.model_fields
        ),
    ]


def _near(text: str, known: Sequence[str]) -> str:
    """What a name may have been meant to be, if it comes near one."""
    near = get_close_matches(text, known, n=1)
    return f"did you mean {near[0]}? " if near else ""


def _name(part: object) -> str:
    """A key as it is, or, where YAML let it be something else, as its value."""
    return str(part) if str(part).isidentifier() and len(str(part)) <= _KEY_CHARACTERS else shown(part)
