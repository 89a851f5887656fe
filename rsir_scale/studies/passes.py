"""The budget of `longer`, which has all the updates of an arm in one fit: passes over the real sequences."""

from rsir_scale.config.settings import Config
from rsir_scale.data.dataset import PreparedDataset
from rsir_scale.errors import ConfigError
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
