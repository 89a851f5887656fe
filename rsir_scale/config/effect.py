"""Which settings change a result, and the fingerprint of those: what decides whether a run may resume."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

NO_EFFECT = frozenset(
    {"data.path", "loop.iterations", "loop.patience", "generation.actors", "fidelity.scan"}
    # Say which sums over the ranks are recorded; the ranks are kept whatever they say.
    | {"evaluation.metrics", "evaluation.cutoffs"}
    # Decides whether a run goes on, and not what it writes.
    | {"run.max_error_rate", "run.shard_timeout_s"}
    # Decides how far ranks are kept, which metrics.json says; no metric looks beyond it.
    | {"evaluation.rank_cap"}
    # Held to what lies there, as is data.path: a teacher may move, but not change.
    | {"generation.teacher"}
    # Presets are spelled out in the keys they fill.
    | {"training.preset"}
)
# Holds whatever a class of the user's reads: one value, however deep, and none where it is empty.
_ONE_VALUE = "model.options"


def effective_settings(config: BaseModel) -> dict[str, Any]:
    """Flatten a config to `section.key: value`, without the keys that change no result."""
    return {key: value for key, value in flatten(config.model_dump(mode="json")).items() if key not in NO_EFFECT}


def flatten(mapping: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Turn sections into one mapping with dotted keys; `model.options` stays whole."""
    flat: dict[str, Any] = {}
    for key, value in mapping.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and (name != _ONE_VALUE or not value):
            flat.update(flatten(value, f"{name}."))
        else:
            flat[name] = value
    return flat


def fingerprint_of(settings: Mapping[str, Any]) -> str:
    """SHA-256 of settings, whatever their order."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
