"""The fit of the diffusion model."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from rsir_scale.augmenters.diffuasr.denoiser import Denoiser
from rsir_scale.augmenters.diffuasr.examples import Examples, Noisy, Rows
from rsir_scale.augmenters.diffuasr.learner import DiffusionLearner
from rsir_scale.augmenters.diffuasr.options import DiffuASROptions
from rsir_scale.augmenters.diffuasr.vectors import scaled_vectors
from rsir_scale.config.settings import TrainingConfig
from rsir_scale.data.sequences import Sequences, offsets_of
from rsir_scale.errors import DivergedError
from rsir_scale.training.epoch import fit
from rsir_scale.training.state import FitState
from rsir_scale.training.worker import Worker

ITEMS, WIDTH, USERS = 20, 8, 24


def learner(**options: object) -> DiffusionLearner:
    """Users who walk round a ring of items."""
    own: dict[str, object] = {"items": 2, "steps": 50, "batch_size": 8, "epochs": 3}
    settings = DiffuASROptions.model_validate(own | options)
    lengths = [5 + user % 3 for user in range(USERS)]
    walks = [1 + (user + np.arange(length)) % ITEMS for user, length in enumerate(lengths)]
    sequences = Sequences(np.arange(USERS), offsets_of(lengths), np.concatenate(walks).astype(np.int32))
    table_VD = torch.randn((ITEMS + 1, WIDTH), generator=torch.Generator().manual_seed(0))
    examples = Examples(sequences, scaled_vectors(table_VD), settings)
    return DiffusionLearner(examples, settings, training=TrainingConfig(weight_decay=0.5), identity=(7, 1))


def loss(one: DiffusionLearner, model: Denoiser, update: int, *, worker: Worker) -> Tensor:
    found = one.loss(model, update, worker)
    assert found is not None
    return found


def test_a_fit_sees_less_noise_where_there_is_none() -> None:
    position = fit(learner(epochs=4, learning_rate=5e-3), Worker()).position
    assert len(position.curve) == 4
    assert position.best_score > position.curve[0].score + 0.1


@pytest.mark.parametrize("guidance", ["classifier_free", "classifier"])
def test_a_fit_that_is_taken_up_again_ends_in_the_same_weights(guidance: str) -> None:
    saved: list[FitState] = []

    def save(state: FitState) -> None:
        saved.append(replace(state, tensors={name: one.clone() for name, one in state.tensors.items()}))

    whole = fit(learner(guidance=guidance), Worker(), save_state=save)
    resumed = fit(learner(guidance=guidance), Worker(), resume_from=saved[1])
    assert saved[1].position.update == 6
    assert whole.weights.keys() == resumed.weights.keys()
    assert all(torch.equal(whole.weights[name], resumed.weights[name]) for name in whole.weights)


def test_a_fit_that_diverges_names_the_option_to_lower() -> None:
    with pytest.raises(DivergedError, match=r"diffuasr.*augmenter\.learning_rate=1e\+30.*the same command.*lower"):
        fit(learner(learning_rate=1e30), Worker())


def test_the_losses_of_the_workers_add_up_to_that_of_one() -> None:
    one = learner(dropout=0.0)
    model = one.build(seed=1)
    whole = loss(one, model, 4, worker=Worker()).item()
    shares = [loss(one, model, 4, worker=Worker(rank=rank, size=3)).item() for rank in range(3)]
    assert sum(shares) == pytest.approx(whole, rel=1e-5)


def test_a_worker_without_rows_has_no_loss() -> None:
    one = learner(batch_size=2)
    assert one.loss(one.build(seed=1), 0, Worker(rank=2, size=3)) is None


def test_an_update_is_the_same_whenever_it_is_done() -> None:
    one, other = learner(dropout=0.0), learner(dropout=0.0)
    model = one.build(seed=1)
    losses = [loss(one, model, update, worker=Worker()).item() for update in range(5)]
    assert loss(other, model, 3, worker=Worker()).item() == losses[3]
    assert len(set(losses)) == 5


def test_no_two_updates_share_their_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    seeds: list[int] = []
    draw = Examples.noisy

    def recorded(examples: Examples, rows: Rows, *, seed: int) -> Noisy:
        seeds.append(seed)
        return draw(examples, rows, seed=seed)

    monkeypatch.setattr(Examples, "noisy", recorded)
    one = learner(batch_size=USERS)
    model = one.build(seed=1)
    for update in range(3):
        one.loss(model, update, Worker())
        one.score(model, update, Worker())
    assert len(set(seeds)) == 4  # the fixed sample's is one


def test_the_score_is_the_negative_loss_without_dropout_and_the_same_each_time() -> None:
    one = learner(dropout=0.9)
    model = one.build(seed=1)
    scores = {one.score(model.train(), update, Worker()) for update in (1, 2)}
    assert len(scores) == 1
    assert -3 < scores.pop() < 0


def test_the_classifier_learns_beside_the_noise() -> None:
    one = learner(guidance="classifier")
    model = one.build(seed=1)
    loss(one, model, 0, worker=Worker()).backward()  # type: ignore[no-untyped-call]
    assert model.first is not None
    assert all(bool(weight.grad.abs().sum() > 0) for weight in model.first.parameters() if weight.grad is not None)


def test_the_hidden_sequence_is_learned_only_where_sequences_are_hidden() -> None:
    for share, learns in [(0.9, True), (0.0, False)]:
        one = learner(drop_condition=share)
        model = one.build(seed=1)
        loss(one, model, 0, worker=Worker()).backward()  # type: ignore[no-untyped-call]
        assert (float(model.hidden_D.grad.abs().sum()) > 0) is learns


def test_the_fit_has_its_own_settings_and_the_run_s_workers() -> None:
    settings = DiffuASROptions(learning_rate=0.25, batch_size=77)
    found = learner(learning_rate=0.25, batch_size=77).config
    run = TrainingConfig(weight_decay=0.5)
    assert (found.learning_rate, found.batch_size) == (settings.learning_rate, settings.batch_size)
    assert (found.weight_decay, found.workers, found.use_gpu) == (0.0, run.workers, run.use_gpu)


def test_no_other_fit_of_the_run_shares_its_draws() -> None:
    assert learner().identity[:2] == (7, 1)
    assert len(learner().identity) == 3
