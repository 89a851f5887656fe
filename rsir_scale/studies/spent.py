"""What a run spent in optimiser updates, and how many passes over the real sequences that is.

Comes in: a run. Goes out: the budget of `longer`, which has all the updates of an arm in one fit.
"""

from rsir_scale.config.settings import Config
from rsir_scale.data.dataset import PreparedDataset
from rsir_scale.errors import ConfigError
from rsir_scale.runs.learned import has_learned, read_learned
from rsir_scale.runs.manifest import read_chain
from rsir_scale.runs.trained import read_model
from rsir_scale.storage.base import Store
from rsir_scale.training.task import budget_of

_MOST_PASSES = 2**31 - 1


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
