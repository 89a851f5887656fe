"""What no fit can work on is refused before a run begins; driver, recursion and outline ask the same question."""

from rsir_scale.config.settings import Config
from rsir_scale.data.dataset import PreparedDataset
from rsir_scale.errors import InputError
from rsir_scale.models.probe import check_model
from rsir_scale.training.negatives import check_negatives


def check_fit(config: Config, dataset: PreparedDataset) -> None:
    """Refuse a model that cannot work on the dataset, too many negatives, and data that nothing can be judged on.

    Raises:
        ConfigError: the settings do not go with the dataset.
        InputError: the file of item vectors has a fault, no user has a validation item, or none two to learn from.
    """
    check_model(config, dataset)
    check_negatives(config.training, dataset.meta.items)
    if not (dataset.held_out().validation > 0).any():
        raise InputError(
            f"dataset {dataset.path} has no validation item, by which every fit is stopped and chosen: a user needs 3 "
            "interactions to have one; import a longer log"
        )
    if not dataset.meta.training_pairs:
        raise InputError(
            f"dataset {dataset.path} has no training sequence of 2 items or more, so nothing can be learned: a user "
            "needs 4 interactions to have one; import a longer log"
        )
