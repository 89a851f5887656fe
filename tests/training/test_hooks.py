"""A backbone may look at the data before the first update, and train with a loss of its own beside the next item's."""

import numpy as np
import pytest
import torch
from torch import Tensor

from rsir_scale.data.dataset import Sequences
from rsir_scale.models.sasrec import SASRec
from rsir_scale.training.worker import Worker
from tests.training.market import MODEL, TRAINING, USERS, begun, fit, market, task


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Sequences, object, int]]:
    """What each call of `prepare` was given."""
    seen: list[tuple[Sequences, object, int]] = []

    def prepare(_: SASRec, sequences: Sequences, *, item_vectors: object, seed: int) -> None:
        seen.append((sequences, item_vectors, seed))

    monkeypatch.setattr(SASRec, "prepare", prepare)
    return seen


def test_a_fresh_fit_lets_the_backbone_look_at_its_data_once(looks: list[tuple[Sequences, object, int]]) -> None:
    fit(task(max_epochs=2), Worker())
    fit(task(max_epochs=1, seed=2), Worker())
    assert len(looks) == 2
    assert np.array_equal(looks[0][0].items, market().training_sequences().items)
    assert looks[0][2] != looks[1][2]


def test_a_fit_that_goes_on_or_starts_warm_does_not_look_again(looks: list[tuple[Sequences, object, int]]) -> None:
    running = begun(task(), Worker())
    state = running.state()
    begun(task(), Worker(), resume_from=state)
    begun(task(), Worker(), warm_start=running.best)
    assert len(looks) == 1


def test_an_auxiliary_loss_is_added_as_a_mean_over_the_rows_of_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = begun(task(max_epochs=1), Worker()).run_interval().loss

    def five_a_row(_: SASRec, context_BL: Tensor, *, draws: torch.Generator) -> Tensor:
        return torch.tensor(5.0 * len(context_BL))

    monkeypatch.setattr(SASRec, "auxiliary_loss", five_a_row)
    assert begun(task(max_epochs=1), Worker()).run_interval().loss == pytest.approx(plain + 5.0, rel=1e-6)


def test_an_auxiliary_loss_trains_and_draws_by_update(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[int] = []

    def shrink(model: SASRec, context_BL: Tensor, *, draws: torch.Generator) -> Tensor:
        drawn.append(int(torch.randint(2**62, (), generator=draws)))
        return 1e3 * model.vectors_of(context_BL).square().sum()

    plain = fit(task(max_epochs=1), Worker()).weights["items.weight"]
    monkeypatch.setattr(SASRec, "auxiliary_loss", shrink)
    shrunk = fit(task(max_epochs=1), Worker()).weights["items.weight"]
    assert shrunk.norm() < 0.9 * plain.norm()
    once = list(drawn)
    assert len(set(once)) == len(once) == -(-USERS // TRAINING.batch_size)
    fit(task(MODEL, max_epochs=1), Worker())
    assert drawn == once * 2
