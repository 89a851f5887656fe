"""Controls: what a gain may come from other than the data that an arm generates.

`aa` is the base again under another seed: how far two models differ without any cause. `longer` is the base with as
many optimiser updates as an arm and all that it fitted, in one fit: theta_0, theta_1 … and what its augmenter learned.
`copies` has the real sequences once more: more rows with nothing new in them. `random` accepts steps by a coin as often
as the check does: acceptance without judgement.

Comes in: a control. Goes out: overrides on the base config; `spent` says how long `longer` is.
"""

from collections.abc import Mapping

from pydantic import JsonValue

from rsir_scale.studies.file import Control

# A study's seeds lie below it, so that no base is the A/A of another seed.
AA_SEED = 2**62
NO_GENERATION: Mapping[str, JsonValue] = {"loop.iterations": 0}
OVERRIDES: Mapping[Control, Mapping[str, JsonValue]] = {
    "aa": NO_GENERATION,
    "longer": NO_GENERATION,
    "copies": {
        "generation.augmenter": "copies",
        "generation.trials_per_sequence": 1,
        "generation.sources": "real",
    },
    "random": {"fidelity.mode": "random"},
}


def longer_overrides(passes: int) -> dict[str, JsonValue]:
    """Settings of a fit that does exactly so many passes over D_0, and keeps its best weights by validation."""
    return {"training.max_epochs": passes, "training.patience": passes}
