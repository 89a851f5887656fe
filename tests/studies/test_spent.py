from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rsir_scale.errors import ConfigError
from rsir_scale.studies import spent
from rsir_scale.studies.cells import cells_of, config_of
from rsir_scale.studies.ledger import ledger_of
from rsir_scale.studies.passes import passes_of
from rsir_scale.studies.spent import updates_spent
from tests.loop.tiny_run import tiny_dataset
from tests.studies.test_order import cell_named
from tests.studies.world import finished_study, study_file

FILE = study_file()
CONFIG = config_of(FILE, cells_of(FILE, (0,))[0])
UPDATES_OF_A_PASS = 4  # 59 sequences, 16 an update


@settings(max_examples=15)
@given(st.integers(1, 10**6))
def test_longer_training_has_the_fewest_passes_that_hold_the_updates(updates: int) -> None:
    passes = passes_of(updates, CONFIG, tiny_dataset())
    assert (passes - 1) * UPDATES_OF_A_PASS < updates <= passes * UPDATES_OF_A_PASS


def test_more_passes_than_a_fit_can_have_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"raise training\.batch_size"):
        passes_of(2**40, CONFIG, tiny_dataset())


def test_what_an_augmenter_learned_is_spent_too(monkeypatch: pytest.MonkeyPatch) -> None:
    store = finished_study().run_store(cell_named(finished_study(), "rsir"))
    recommenders, learners = updates_spent(store)
    assert learners == 0
    monkeypatch.setattr(spent, "has_learned", lambda store, iteration: iteration == 0)
    monkeypatch.setattr(spent, "read_learned", lambda store, iteration: SimpleNamespace(updates=7))
    assert updates_spent(store) == (recommenders, 7)
    ledger = ledger_of([store])
    assert (ledger["updates"], ledger["learner_updates"]) == (recommenders + 7, 7)
