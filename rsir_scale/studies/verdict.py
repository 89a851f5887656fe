"""What a study says, in words: an arm helps, does not help, or the study cannot tell.

Comes in: the entries of a report. Goes out: a word and a sentence for each arm.

An arm *helps* when it is above the base after Holm's correction and above longer training with as many updates, where
the study has that control. It *does not help* when the interval against either lies at or below 0. Everything else the
study *cannot tell*: then the sentence says which difference it would have shown.
"""

from collections.abc import Mapping
from typing import Any

from rsir_scale.analysis.significance import LEVEL

HELPS, DOES_NOT, CANNOT_TELL = "helps", "does not help", "cannot tell"
_ALPHA = 1.0 - LEVEL


def word_for(base: Mapping[str, Any], longer: Mapping[str, Any] | None) -> str:
    """Judge an arm by its entries of the study's metric on test, against the base and against longer training."""
    if any(entry["high"] <= 0.0 for entry in (base, longer) if entry is not None):
        return DOES_NOT
    shown = base["low"] > 0.0 and base["p_holm"] < _ALPHA
    return HELPS if shown and (longer is None or longer["low"] > 0.0) else CANNOT_TELL


def sentence_for(arm: Mapping[str, Any], metric: str) -> str:
    """Say what came of an arm, by how much, against what and at which price."""
    base = arm["metrics"][f"test/{metric}"]
    longer = arm["against"].get("longer", {}).get(f"test/{metric}")
    parts = [f"{metric} {_told(base)} against the base"]
    parts.append("not compared with longer training" if longer is None else f"{_told(longer)} against longer training")
    price = arm["ledger"]["price"]
    parts.append(f"at {price['updates']:.1f} times the base's updates and {price['seconds']:.1f} times its time")
    word = arm["verdict"]
    said = f"{arm['name']} on {arm['dataset']}: {word}. {', '.join(parts)}"
    if word == CANNOT_TELL:
        said += f". This study shows a difference of {_share(_least(base, longer))} in four of five cases"
    return f"{said}."


def _least(base: Mapping[str, Any], longer: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """The comparison that needs the larger difference."""
    return max((entry for entry in (base, longer) if entry is not None), key=lambda entry: float(entry["detectable"]))


def _share(entry: Mapping[str, Any]) -> str:
    return f"{100 * entry['detectable'] / entry['base']:.1f} %" if entry["base"] else f"{entry['detectable']:.4f}"


def _told(entry: Mapping[str, Any]) -> str:
    """A difference as per cent of what it is set against, with its interval; in its own unit where that is 0."""
    if entry["percent"] is None:
        return f"{entry['mean']:+.4f} [{entry['low']:+.4f}, {entry['high']:+.4f}]"
    mean, low, high = entry["percent"]
    return f"{mean:+.1f} % [{low:+.1f}, {high:+.1f}]"
