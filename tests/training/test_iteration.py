"""An iteration is fitted to D_k, real sequences first and the generated at their weight, for the updates of D_0."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from rsir_scale.config.file import resolve
from rsir_scale.config.settings import Config, EvaluationConfig
from rsir_scale.loop.local import LocalPhases
from rsir_scale.loop.recursion import run_recursion
from rsir_scale.models.shards import assemble, read_pieces
from rsir_scale.runs.lineage import load, training_files
from rsir_scale.runs.open_run import open_run
from rsir_scale.runs.trained import read_model
from rsir_scale.storage.opening import open_store
from rsir_scale.training import iteration as iteration_module
from rsir_scale.training.iteration import training_task
from rsir_scale.training.task import budget_of
from tests.loop.tiny_run import USERS, TinyRun, tiny_run


def _with(run: TinyRun, **training: object) -> Config:
    return run.config.model_copy(update={"training": run.config.training.model_copy(update=training)})


@pytest.mark.parametrize("iteration", [1, 2])
def test_theta_k_learns_from_all_of_d_k_in_as_many_updates_as_d_0_has(iteration: int) -> None:
    run = tiny_run()
    task = training_task(run, iteration)
    real = run.dataset.training_sequences()
    files = training_files(run, iteration)
    written = sum(file.rows for file in files if file.where == "run")
    assert task.sequences.ids[:USERS].tolist() == list(range(USERS))
    assert task.sequences.items[: len(real.items)].tolist() == real.items.tolist()
    assert 0 < len(task.sequences) - USERS <= written
    assert task.sequences.items.tolist() == load(run, files).items.tolist()
    assert task.budget == budget_of(run.config.training, real)
    assert (task.real_count, task.identity) == (USERS, (run.config.seed, iteration))


def test_generated_sequences_have_their_weight_and_real_ones_one() -> None:
    run = tiny_run()
    task = training_task(replace(run, config=_with(run, synthetic_weight=0.25)), 1)
    assert task.weights is not None
    assert set(task.weights[:USERS].tolist()) == {1.0}
    assert set(task.weights[USERS:].tolist()) == {0.25}


@pytest.mark.parametrize("mask", [True, False])
def test_validation_while_training_masks_the_history_as_the_evaluation_does(mask: bool) -> None:
    run = tiny_run()
    config = run.config.model_copy(update={"evaluation": EvaluationConfig(mask_history=mask)})
    assert training_task(replace(run, config=config), 1).mask_history is mask


@pytest.mark.parametrize("variant", ["finetune", "retrain"])
def test_fine_tuning_starts_from_the_model_before_and_retraining_from_none(
    variant: str, tmp_path: Path, monkeypatch
) -> None:
    dataset, store = tiny_run().dataset, open_store(tmp_path)
    settings = tiny_run().config.model_dump()
    settings["loop"] |= {"variant": variant}
    settings["training"] |= {"max_epochs": 1}
    started_from: list[dict[str, torch.Tensor] | None] = []
    fit = iteration_module.resumed_fit

    def listening(*given: object, warm_start: dict[str, torch.Tensor] | None, **named: object) -> object:
        started_from.append(warm_start)
        return fit(*given, warm_start=warm_start, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(iteration_module, "resumed_fit", listening)
    with open_run(store, resolve(settings), dataset) as run:
        run_recursion(run, LocalPhases())
    assert len(started_from) == 3
    assert started_from[0] is None
    for iteration, start in enumerate(started_from[1:]):
        if variant == "retrain":
            assert start is None
            continue
        before = assemble(read_pieces(store, read_model(store, iteration).weights))
        assert start is not None
        assert all(torch.equal(weight, before[name]) for name, weight in start.items())
