"""A fit learns, stops when it should, and ends in the same bits whenever it was stopped and taken up again."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from rsir_scale.data.dataset import concatenate
from rsir_scale.errors import ResumableError
from rsir_scale.evaluation.evaluate import EvaluationSet, rank_targets, validation_set
from rsir_scale.evaluation.evaluate import test_set as held_out_test_set
from rsir_scale.evaluation.metrics import per_user
from rsir_scale.models.checkpoint import copy_weights
from rsir_scale.runs.trained import CurvePoint
from rsir_scale.training import epoch
from rsir_scale.training.epoch import Fit, FitResult, Progress
from rsir_scale.training.schedule import schedule_of
from rsir_scale.training.state import FitState
from rsir_scale.training.task import TrainingTask
from rsir_scale.training.worker import Worker
from tests.training.market import ITEMS, begun, copied, fit, market, task, trained_backbone, without_dropout

ALONE = Worker()


def _same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def _gain_at_20(ranks: np.ndarray) -> float:
    return float(per_user(ranks, metric="NDCG", cutoff=20).mean())


def _popularity_gain(users: EvaluationSet) -> float:
    counts = np.bincount(market().training_sequences().items, minlength=ITEMS + 1).astype(np.float64)
    ranks = []
    for row, target in enumerate(users.targets):
        scores = counts.copy()
        scores[[0, *users.contexts.row(row)]] = -1.0
        ranks.append(1 + int((scores > scores[target]).sum()))
    return _gain_at_20(np.array(ranks))


@pytest.mark.parametrize(
    "changes",
    [
        {"loss": "sampled_softmax"},
        {"loss": "cross_entropy"},
        pytest.param({"loss": "bce", "max_epochs": 60}, marks=pytest.mark.slow),
        {"loss": "cross_entropy", "precision": "bfloat16"},
        {"logq_correction": True, "item_updates": "sparse"},
    ],
    ids=lambda changes: "+".join(str(value) for value in changes.values()),
)
def test_a_fit_learns_a_planted_market_a_quarter_better_than_popularity(changes: dict[str, object]) -> None:
    learned = task(**({"max_epochs": 20, "patience": 60} | changes))
    backbone = trained_backbone(learned, fit(learned, ALONE))
    users = held_out_test_set(market().training_sequences(), market().held_out())
    assert _gain_at_20(rank_targets(backbone, users, mask_history=True)) > 1.25 * _popularity_gain(users)


def _states(fitted: TrainingTask) -> tuple[list[FitState], list[Progress], FitResult]:
    states: list[FitState] = []
    reports: list[Progress] = []
    result = fit(fitted, ALONE, save_state=lambda state: states.append(copied(state)), report=reports.append)
    return states, reports, result


@pytest.mark.parametrize("schedule", ["constant", "linear"])
@pytest.mark.parametrize("item_updates", ["dense", "sparse"])
def test_a_fit_taken_up_after_any_interval_ends_in_the_same_bits(item_updates: str, schedule: str) -> None:
    fitted = task(max_epochs=4, patience=4, item_updates=item_updates, schedule=schedule)
    states, reports, whole = _states(fitted)
    assert len(states) == 4
    assert whole.position.curve == tuple(CurvePoint(update=p.update, loss=p.loss, score=p.score) for p in reports)
    for stopped, state in enumerate(states[:-1]):
        # What happens to torch's generator between two starts must not matter.
        torch.manual_seed(stopped)
        later: list[Progress] = []
        resumed = fit(fitted, ALONE, resume_from=state, report=later.append)
        assert _same(resumed.weights, whole.weights)
        assert resumed.position == whole.position.model_copy(update={"seconds": resumed.position.seconds})
        told = [(p.update, p.loss, p.score, p.best_score) for p in reports[stopped + 1 :]]
        assert [(p.update, p.loss, p.score, p.best_score) for p in later] == told


def test_a_finished_fit_taken_up_again_trains_no_further() -> None:
    fitted = task(max_epochs=2)
    states, _, whole = _states(fitted)
    reports: list[Progress] = []
    again = fit(fitted, ALONE, resume_from=states[-1], report=reports.append)
    assert reports == []
    assert _same(again.weights, whole.weights)


def test_the_seed_decides_the_weights() -> None:
    one, same, other = (fit(task(max_epochs=1, seed=seed), ALONE).weights for seed in (1, 1, 2))
    assert _same(one, same)
    assert not _same(one, other)


def test_training_stops_at_the_budget_in_updates_of_the_real_data_however_large_the_data() -> None:
    real = market().training_sequences()
    doubled = task(sequences=concatenate([real, real]), max_epochs=3)
    _, reports, result = _states(doubled)
    passes = -(-len(real) // 64)
    assert [report.update for report in reports] == [passes, 2 * passes, 3 * passes]
    assert result.position.update == doubled.budget.maximum == 3 * passes


def test_training_stops_when_patience_in_updates_is_spent() -> None:
    still = without_dropout(task(learning_rate=1e-30, max_epochs=50, patience=2))
    _, reports, result = _states(still)
    interval = still.budget.interval
    # The first validation is the best, and nothing changes after it.
    assert [report.update for report in reports] == [interval, 2 * interval, 3 * interval]
    assert result.position.best_update == interval


def test_bfloat16_rounds_what_is_encoded_and_neither_weights_nor_scores() -> None:
    losses = {}
    for precision in ("float32", "bfloat16"):
        fitted = without_dropout(task(precision=precision, learning_rate=5e-2))
        running = begun(fitted, ALONE)
        # The first losses are those of tables near zero, and alike to the last digit.
        losses[precision] = [running._update(number) for number in range(4)][-1]
        assert {tensor.dtype for tensor in running.state().tensors.values()} == {torch.float32}
    assert 1e-5 < abs(losses["bfloat16"] - losses["float32"]) < 0.005 * losses["float32"]


def test_each_update_has_the_rate_of_the_schedule_over_the_whole_budget() -> None:
    falling = task(max_epochs=4, schedule="linear")
    running = begun(falling, ALONE)
    schedule = schedule_of(falling.config, falling.budget.maximum)
    for update in range(falling.budget.maximum):
        running._update(update)
        assert running.optimiser.rate == schedule.of(update)
    assert schedule.of(update) < 0.2 * falling.config.learning_rate


def test_weight_decay_shrinks_what_it_trains() -> None:
    free, decayed = (
        fit(without_dropout(task(max_epochs=1, weight_decay=decay)), ALONE).weights["positions.weight"].norm()
        for decay in (0.0, 0.5)
    )
    assert decayed < 0.8 * free


def test_sparse_updates_make_the_moves_put_off_before_a_row_is_read_and_before_the_weights_are_used() -> None:
    # So many items that most of them rest at most updates.
    small = task(item_updates="sparse", negatives=8)
    large = replace(small, description=small.description.model_copy(update={"item_count": 5_000}))
    running = begun(large, ALONE)
    embedding = running.model.item_embedding()
    assert embedding is not None
    resting = []

    def is_up_to_date(_: torch.nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        if state := running.optimiser.state.get(embedding.weight):
            assert (state["reached"][inputs[0]] == state["step"]).all()
            resting.append(bool((state["reached"] < state["step"]).any()))

    embedding.register_forward_hook(is_up_to_date)
    running.model.train()
    for update in range(large.budget.interval):
        running._update(update)
    assert any(resting)
    running.run_interval()
    state = running.optimiser.state[embedding.weight]
    assert (state["reached"] == state["step"]).all()


def test_the_weights_kept_are_those_of_the_best_validation() -> None:
    fitted = task(learning_rate=5e-2, max_epochs=8, patience=8)
    _, reports, result = _states(fitted)
    best = max(report.score for report in reports)
    assert result.position.best_score == best
    assert result.position.best_update == next(report.update for report in reports if report.score == best)
    backbone = trained_backbone(fitted, result)
    assert not backbone.training
    ranks = rank_targets(backbone, fitted.validation, mask_history=True)
    assert _gain_at_20(ranks) == pytest.approx(best, abs=1e-6)


def test_validation_items_change_no_weight() -> None:
    fitted = task()
    held_out = market().held_out()
    others = replace(held_out, validation=(held_out.validation % ITEMS + 1).astype(np.int32))
    other = replace(fitted, validation=validation_set(market().training_sequences(), others))
    runs = []
    for chosen in (fitted, other):
        running = begun(chosen, ALONE)
        progress = running.run_interval()
        runs.append((copy_weights(running.model), progress.loss, progress.score))
    assert _same(runs[0][0], runs[1][0])
    assert runs[0][1] == runs[1][1]
    assert runs[0][2] != runs[1][2]


def test_a_warm_start_begins_with_the_weights_given() -> None:
    first = fit(task(max_epochs=1), ALONE).weights
    still = task(learning_rate=1e-30, max_epochs=1, seed=9)
    assert _same(fit(still, ALONE, warm_start=first).weights, first)
    assert not _same(fit(still, ALONE).weights, first)


def test_sparse_updates_leave_items_alone_that_no_batch_and_no_negative_holds() -> None:
    running = begun(task(item_updates="sparse", negatives=1), ALONE)
    before = running.model.item_vectors().detach().clone()
    running.model.train()
    running._update(0)
    changed = set((running.model.item_vectors() != before).any(1).nonzero()[:, 0].tolist())
    sequences = running.learner.task.sequences
    held = {item for row in running.learner.rows(0) for item in sequences.row(row).tolist()}
    assert changed
    assert len(changed - held) <= 1
    assert len(changed) < ITEMS


class _LargeTensors(TorchDispatchMode):
    """Names the operations that make a tensor of at least `size` elements, but for those within tensors known."""

    def __init__(self, size: int, known: list[torch.Tensor]) -> None:
        super().__init__()
        self.size = size
        self.known = {tensor.untyped_storage().data_ptr() for tensor in known}
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        made = [one for one in (out if isinstance(out, tuple | list) else [out]) if isinstance(one, torch.Tensor)]
        large = [one for one in made if not one.is_sparse and one.numel() >= self.size]
        if any(one.untyped_storage().data_ptr() not in self.known for one in large):
            self.found.append(str(func))
        return out


@pytest.mark.parametrize("item_updates", ["dense", "sparse"])
def test_a_sparse_update_makes_nothing_of_the_size_of_the_catalogue(item_updates: str) -> None:
    catalogue = 50_000
    small = task(item_updates=item_updates, logq_correction=True, negatives=8)
    large = replace(small, description=small.description.model_copy(update={"item_count": catalogue}))
    running = begun(large, ALONE)
    running.model.train()
    running._update(0)
    moments = [value for state in running.optimiser.state.values() for value in state.values()]
    with _LargeTensors(catalogue, [*running.model.parameters(), *moments]) as seen:
        running._update(1)
    assert bool(seen.found) == (item_updates == "dense"), seen.found


def test_a_loss_that_is_no_number_stops_the_fit_and_names_the_learning_rate() -> None:
    with pytest.raises(ResumableError, match=r"training\.learning_rate=1e\+30: no state was saved before"):
        fit(task(learning_rate=1e30, max_epochs=3), ALONE)


def test_a_fit_that_diverges_later_names_the_state_that_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    fitted = task(max_epochs=3)
    interval = fitted.budget.interval
    states: list[FitState] = []
    update = Fit._update

    def broken(self: Fit, number: int) -> float:
        loss = update(self, number)
        if number == 2 * interval - 1:
            # The loss of an update does not show what the update did to the weights.
            self.model.item_vectors().data[3] = float("nan")
        return loss

    monkeypatch.setattr(Fit, "_update", broken)
    with pytest.raises(ResumableError, match=rf"saved after update {interval} is kept .* at update {interval}\)"):
        fit(fitted, ALONE, save_state=lambda state: states.append(copied(state)))
    monkeypatch.undo()
    assert [state.position.update for state in states] == [interval]
    assert _same(fit(fitted, ALONE, resume_from=states[-1]).weights, fit(fitted, ALONE).weights)


def test_synthetic_weight_scales_the_share_of_synthetic_sequences() -> None:
    real = market().training_sequences()
    synthetic = replace(real, ids=real.ids + len(real))
    both = concatenate([real, synthetic])
    one, same, less = (
        fit(without_dropout(task(sequences=both, synthetic_weight=weight, max_epochs=1)), ALONE).weights
        for weight in (1.0, 1.0, 0.25)
    )
    assert _same(one, same)
    assert not _same(one, less)
    # Sequences that are alike have the same mean loss, whatever weight they have in it.
    whole, almost_alone = (
        begun(without_dropout(task(sequences=both, synthetic_weight=weight))) for weight in (1.0, 1e-6)
    )
    assert almost_alone._update(0) == pytest.approx(whole._update(0), rel=0.05)


def test_a_share_of_synthetic_sequences_adds_to_an_update_and_not_to_the_number_of_updates() -> None:
    real = market().training_sequences()
    both = concatenate([real, replace(real, ids=real.ids + len(real))])
    alone, mixed = task(), task(sequences=both, synthetic_share=0.5)
    assert alone.budget == mixed.budget
    sizes = [
        sum(len(running.learner.rows(update)) for update in range(alone.budget.interval))
        for running in (begun(one, ALONE) for one in (alone, mixed))
    ]
    assert sizes[1] == len(real) + round(0.5 * len(real)) > sizes[0] == len(real)


def test_each_update_of_each_worker_seeds_its_dropout_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    seeds: list[int] = []
    monkeypatch.setattr(epoch, "_seed", lambda seed, _: seeds.append(seed))
    fitted = task()
    for worker in (ALONE, replace(ALONE, rank=1)):
        running = begun(fitted, worker)
        for _ in range(2):
            running.run_interval()
    assert len(seeds) == len(set(seeds)) == 2 * 2 * fitted.budget.interval
