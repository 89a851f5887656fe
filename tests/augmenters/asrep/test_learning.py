"""The reversed model learns users' training items from the last to the first, and validates on some of them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsir_scale.augmenters.asrep.learning import backwards, reversed_learner
from rsir_scale.augmenters.asrep.options import AsrepOptions
from rsir_scale.config.settings import TrainingConfig
from rsir_scale.data.sequences import Sequences, offsets_of
from rsir_scale.errors import DivergedError
from rsir_scale.training.epoch import fit
from rsir_scale.training.recommender import Recommender
from rsir_scale.training.worker import Worker
from tests.training.market import ITEMS, TRAINING, market, sequences_of

SMALL = AsrepOptions(width=16, heads=2, blocks=1, dropout=0.1, epochs=2, patience=2, learning_rate=0.02)
TRAINED_LONG = TRAINING.model_copy(update={"max_epochs": 999, "synthetic_share": 0.5})


def _learner(
    sequences: Sequences, options: AsrepOptions = SMALL, *, seed: int = 1, training: TrainingConfig = TRAINED_LONG
) -> Recommender:
    return reversed_learner(sequences, options, item_count=ITEMS, training=training, seed=seed, iteration=0)


@given(rows=st.lists(st.lists(st.integers(1, 9), max_size=5)))
def test_each_sequence_is_turned_in_its_place(rows: list[list[int]]) -> None:
    turned = backwards(sequences_of(rows))
    assert [turned.row(row).tolist() for row in range(len(rows))] == [row[::-1] for row in rows]
    assert turned.ids.tolist() == list(range(len(rows)))


def test_one_user_in_twenty_validates_by_the_first_item_and_the_others_are_learned() -> None:
    real = market().training_sequences()
    task = _learner(real).task
    validating = task.validation.contexts.ids
    assert len(validating) == -(-len(real) // 20)
    assert sorted([*task.sequences.ids, *validating]) == real.ids.tolist()
    for row, user in enumerate(validating):
        first, *rest = real.row(user).tolist()
        assert task.validation.targets[row] == first
        assert task.validation.contexts.row(row).tolist() == rest[::-1]
    for row in range(0, len(task.sequences), 20):
        assert task.sequences.row(row).tolist() == real.row(task.sequences.ids[row]).tolist()[::-1]


def test_another_seed_lets_others_validate() -> None:
    real = market().training_sequences()
    one, other = (set(_learner(real, seed=seed).task.validation.contexts.ids) for seed in (1, 2))
    assert one != other


def test_it_has_its_own_budget_and_draws_and_trains_otherwise_as_the_run_does() -> None:
    learner = _learner(market().training_sequences())
    passes = learner.budget.maximum // learner.budget.interval
    assert (passes, learner.config.learning_rate) == (SMALL.epochs, SMALL.learning_rate)
    assert (learner.config.loss, learner.config.batch_size) == (TRAINING.loss, TRAINING.batch_size)
    # The share would set synthetic sequences apart, and there are none.
    assert learner.config.synthetic_share is None
    assert learner.identity[:2] == (1, 0)
    assert len(learner.identity) > 2


@pytest.mark.parametrize("rows", [[[1, 2]], [[1, 2], [3]], [[1, 2], [2, 3, 4]]])
def test_a_handful_of_sequences_is_enough(rows: list[list[int]]) -> None:
    assert fit(_learner(sequences_of(rows)), Worker()).position.update == 2


def test_it_learns_what_comes_before() -> None:
    # Everybody walks a ring, so one item comes before each.
    starts = np.random.default_rng(1).integers(ITEMS, size=(200, 1))
    items = (starts + np.arange(6)) % ITEMS + 1
    sequences = Sequences(np.arange(200), offsets_of([6] * 200), items.astype(np.int32).reshape(-1))
    options = SMALL.model_copy(update={"epochs": 15, "patience": 15})
    assert fit(_learner(sequences, options), Worker()).position.best_score > 0.6


def test_where_it_diverges_its_name_and_option_are_told() -> None:
    options = SMALL.model_copy(update={"learning_rate": 1e30})
    with pytest.raises(DivergedError, match=r"the reversed model of asrep: .*augmenter\.learning_rate=1e\+30"):
        fit(_learner(market().training_sequences(), options), Worker())
