"""Which augmenters there are by name, where each one's class stands, and what is said of options that it lacks.

Comes in: `generation.augmenter`. Goes out: a class of `rsir_scale.augmenters`, imported by its name and only when a
user's config names it: nothing in a run directory brings code along. A built-in augmenter is one line here.
"""

import re
from difflib import get_close_matches
from importlib import import_module
from typing import Any

from pydantic import ValidationError

from rsir_scale.config.own_class import import_own
from rsir_scale.errors import ConfigError, shown

BUILT_IN = {
    "rsir": "rsir_scale.augmenters.rsir.augmenter:Rsir",
    "reordering": "rsir_scale.augmenters.reordering:Reordering",
    "insertion": "rsir_scale.augmenters.insertion:Insertion",
    "asrep": "rsir_scale.augmenters.asrep.augmenter:Asrep",
    "diffuasr": "rsir_scale.augmenters.diffuasr.augmenter:DiffuASR",
    "dr4sr": "rsir_scale.augmenters.dr4sr.augmenter:Dr4sr",
    "copies": "rsir_scale.augmenters.controls:Copies",
    "thinned": "rsir_scale.augmenters.controls:Thinned",
    "slide_window": "rsir_scale.augmenters.controls:SlideWindow",
}
_FAULTS_SHOWN = 10
_FAULT_CHARACTERS = 500
_CLASS = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")


def known_augmenter(name: str) -> str:
    """Return the name if it is one. Raises ValueError, which says what comes near it."""
    if name in BUILT_IN or _CLASS.fullmatch(name):
        return name
    near = get_close_matches(name, BUILT_IN, n=1)
    raise ValueError(
        f"{'did you mean ' + near[0] + '? ' if near else ''}There are {', '.join(BUILT_IN)}; for a class of yours "
        "write package.module:Class"
    )


def is_own_class(name: str) -> bool:
    """Whether the augmenter is a class that the user brings."""
    return name not in BUILT_IN


def augmenter_class(name: str) -> Any:
    """Import the class of an augmenter.

    Raises:
        ConfigError: it cannot be imported, or is no augmenter.
    """
    if not is_own_class(name):
        module_name, _, class_name = BUILT_IN[name].partition(":")
        return getattr(import_module(module_name), class_name)
    found = import_own("generation.augmenter", name)
    base = import_module("rsir_scale.augmenters.base").Augmenter
    if not (isinstance(found, type) and issubclass(found, base)):
        raise ConfigError(
            f"generation.augmenter={name} is {found!r}, which is not a subclass of "
            "rsir_scale.augmenters.base.Augmenter: name one that is (docs/augmenter.md shows how to write it)"
        )
    return found


def options_of(config: Any) -> Any:
    """The options that a config's augmenter is given, as its own section of settings.

    Raises:
        ConfigError: the class cannot be imported; or, one line each, what is wrong with its options.
    """
    name = config.generation.augmenter
    try:
        return augmenter_class(name).Options.model_validate(config.augmenter)
    except ValidationError as error:
        raise ConfigError(
            "\n".join(_option_fault(name, fault)[:_FAULT_CHARACTERS] for fault in error.errors()[:_FAULTS_SHOWN])
        ) from error


def _option_fault(name: str, fault: Any) -> str:
    """Say what is wrong with an option, and which augmenter has it or what its name comes near."""
    key = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "missing":
        return f"augmenter.{key} is missing: set it in the config or with --set augmenter.{key}=…"
    if fault["type"] != "extra_forbidden":
        rule = str(fault["msg"]).removeprefix("Value error, ")
        return f"augmenter.{key}={shown(fault['input'])}: {rule}; see docs/configuration.md for what it takes"
    own = list(augmenter_class(name).Options.model_fields)
    near = get_close_matches(key, own, n=1)
    owners = [other for other in BUILT_IN if key in augmenter_class(other).Options.model_fields]
    hint = f"did you mean augmenter.{near[0]}? " if near else ""
    whose = f"it is an option of {', '.join(owners)}: leave it out, or set generation.augmenter" if owners else ""
    reads = f"{name} reads {', '.join(own)}" if own else f"{name} has no options"
    return f"augmenter.{key} would be read by nothing, as generation.augmenter={name}: {hint}{whose or reads}"
