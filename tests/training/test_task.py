"""Budgets are in updates of D_0, and synthetic sequences are told from real ones by their ids."""

import pytest

from rsir_scale.config.file import resolve
from rsir_scale.config.settings import TrainingConfig
from rsir_scale.errors import InputError
from rsir_scale.training.task import Budget, budget_of, sequence_weights, settings_of
from tests.training.market import sequences_of


@pytest.mark.parametrize(("rows", "passes"), [(1, 1), (4, 1), (5, 2), (9, 3)])
def test_an_epoch_of_the_budget_is_a_pass_over_the_trainable_rows(rows: int, passes: int) -> None:
    sequences = sequences_of([[1, 2]] * rows + [[3]] * 7)
    config = TrainingConfig(batch_size=4, max_epochs=10, patience=3)
    assert budget_of(config, sequences) == Budget(interval=passes, maximum=10 * passes, patience=3 * passes)


def test_a_log_without_a_pair_is_refused() -> None:
    with pytest.raises(InputError, match="2 items"):
        budget_of(TrainingConfig(), sequences_of([[1], [2]]))


def test_real_sequences_weigh_one_and_synthetic_ones_what_is_set() -> None:
    weights = sequence_weights(sequences_of([[1, 2]] * 5), real_count=3, synthetic_weight=0.25)
    assert weights.tolist() == [1.0, 1.0, 1.0, 0.25, 0.25]


def test_a_fit_that_starts_from_the_last_model_may_have_a_rate_and_a_budget_of_its_own() -> None:
    training = {"learning_rate": 0.1, "max_epochs": 9, "finetune_learning_rate": 0.01, "finetune_epochs": 4}
    raw = {"data": {"path": "data/somewhere"}, "training": training}
    scratch, warm = resolve(raw), resolve({**raw, "loop": {"variant": "finetune"}})
    read = [settings_of(config, iteration) for config in (scratch, warm) for iteration in (0, 1)]
    assert [(one.learning_rate, one.max_epochs) for one in read] == [(0.1, 9), (0.1, 9), (0.1, 9), (0.01, 4)]


def test_fine_tuning_takes_over_what_is_not_set_for_it() -> None:
    config = resolve({"data": {"path": "data/somewhere"}, "loop": {"variant": "finetune"}})
    assert settings_of(config, 1) == config.training
