"""Controls: what is no gain of the data that an arm generates.

`aa` is the base again under another seed: how far two models differ without any cause. `longer` is the base with as
many optimiser updates as an arm and all that it fitted, in one fit: theta_0, theta_1 … and what its augmenter learned.
`copies` has the real sequences once more: more rows with nothing new in them. `random` accepts steps by a coin as often
as the check does: acceptance without judgement.

Comes in: a control, and for `longer` the run of its arm. Goes out: overrides on the base config.
"""

from collections.abc import Mapping

from pydantic import JsonValue

from rsir_scale.config.settings import Config
from rsir_scale.data.dataset import PreparedDataset
from rsir_scale.errors import ConfigError
from rsir_scale.runs.learned import has_learned, read_learned
from rsir_scale.runs.manifest import read_chain
from rsir_scale.runs.trained import read_model
from rsir_scale.storage.base import Store
from rsir_scale.studies.file import Control
from rsir_scale.training.task import budget_of

_MOST_PASSES = 2**31 - 1
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


def passes_of(updates: int, config: Config, dataset: PreparedDataset) -> int:
    """Passes over D_0 that are at least so many updates.

    Raises:
        ConfigError: they are more than a fit can have.
        InputError: there is nothing to learn from.
    """
    passes = -(-updates // budget_of(config.training, dataset.training_sequences()).interval)
    if passes > _MOST_PASSES:
        raise ConfigError(
            f"{updates} updates are {passes} passes, more than training.max_epochs takes: raise training.batch_size"
        )
    return passes


def updates_spent(store: Store) -> tuple[int, int]:
    """Updates of a run's recommenders, and of what its augmenter fitted. Raises IntegrityError."""
    iterations = range(len(read_chain(store)))
    learned = [iteration for iteration in iterations if has_learned(store, iteration)]
    return (
        sum(read_model(store, iteration).updates for iteration in iterations),
        sum(read_learned(store, iteration).updates for iteration in learned),
    )
