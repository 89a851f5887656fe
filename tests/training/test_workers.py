"""Two data-parallel workers do what one does: the same global batches, the same negatives, the same updates."""

from pathlib import Path

import pytest
import torch
import torch.distributed as distributed
import torch.multiprocessing as multiprocessing
from safetensors.torch import load, save

from rsir_scale.config.settings import ModelConfig
from rsir_scale.errors import ResumableError
from rsir_scale.models.sasrec import SASRec
from rsir_scale.training.epoch import Progress
from rsir_scale.training.state import FitState
from rsir_scale.training.task import TrainingTask
from rsir_scale.training.worker import Worker
from tests.models.test_plugin import Plain
from tests.training.market import MODEL, copied, fit, task


class Pulled(SASRec):
    """Has a loss of each row beside the next item's."""

    def auxiliary_loss(self, context_BL: torch.Tensor, *, draws: torch.Generator) -> torch.Tensor:
        return 10.0 * self.items(context_BL).square().sum()  # type: ignore[no-any-return]


MODELS = {
    "dense": (MODEL, "dense"),
    "sparse": (MODEL, "sparse"),
    "auxiliary loss": (MODEL.model_copy(update={"backbone": f"{__name__}:Pulled"}), "dense"),
}


def _task(name: str) -> TrainingTask:
    # 257 users in batches of 64: the last batch of a pass holds one row, so the second worker has none of it.
    # Dropout depends on the sequence, not on the worker that has it.
    model, item_updates = MODELS[name]
    return task(model, max_epochs=2, item_updates=item_updates)


def _work(rank: int, folder: str, name: str) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    reports: list[Progress] = []
    result = fit(_task(name), Worker(rank=rank, size=2), report=reports.append)
    scores = torch.tensor([[p.update, p.loss, p.score] for p in reports], dtype=torch.float64)
    Path(folder, f"{rank}.safetensors").write_bytes(save({**result.weights, "reports": scores}))
    distributed.destroy_process_group()


def states_of(of: TrainingTask) -> list[FitState]:
    """The states that a fit on one worker saves."""
    states: list[FitState] = []
    fit(of, Worker(), save_state=lambda state: states.append(copied(state)))
    return states


def _resume(rank: int, folder: str) -> None:
    distributed.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    state = states_of(task(max_epochs=2))[0] if rank else None
    with pytest.raises(ResumableError, match="different states"):
        fit(task(max_epochs=2), Worker(rank=rank, size=2), resume_from=state)
    distributed.destroy_process_group()


@pytest.mark.slow
def test_workers_that_read_different_states_do_not_train(tmp_path: Path) -> None:
    multiprocessing.spawn(_resume, args=(str(tmp_path),), nprocs=2)


class Counting(Plain):
    """Moves a buffer while it trains, by what its own worker sees."""

    def __init__(self, config: ModelConfig, *, item_count: int, max_length: int) -> None:
        super().__init__(config, item_count=item_count, max_length=max_length)
        self.register_buffer("seen", torch.zeros(()))
        self.seen: torch.Tensor

    def hidden(self, context_BL: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.seen += (context_BL > 0).sum()
        return super().hidden(context_BL)


def _count(rank: int, folder: str) -> None:
    distributed.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    counting = task(MODEL.model_copy(update={"backbone": f"{__name__}:Counting"}), max_epochs=2)
    worker, states = Worker(rank=rank, size=2), list[FitState]()
    whole = fit(counting, worker, save_state=lambda state: states.append(copied(state))).weights
    first: list[FitState | None] = [states[0] if rank == 0 else None]
    distributed.broadcast_object_list(first)
    resumed = fit(counting, worker, resume_from=first[0]).weights
    Path(folder, f"{rank}.safetensors").write_bytes(save(whole))
    Path(folder, f"resumed-{rank}.safetensors").write_bytes(save(resumed))
    distributed.destroy_process_group()


@pytest.mark.slow
def test_what_a_class_counts_while_it_trains_is_the_first_workers_and_survives_a_resume(tmp_path: Path) -> None:
    multiprocessing.spawn(_count, args=(str(tmp_path),), nprocs=2)
    found = [load(path.read_bytes()) for path in sorted(tmp_path.glob("*.safetensors"))]
    assert len(found) == 4
    assert float(found[0]["seen"]) > 0
    assert all(torch.equal(other[name], tensor) for other in found[1:] for name, tensor in found[0].items())


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_two_workers_train_what_one_trains(tmp_path: Path, name: str) -> None:
    multiprocessing.spawn(_work, args=(str(tmp_path), name), nprocs=2)
    first, second = (load((tmp_path / f"{rank}.safetensors").read_bytes()) for rank in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    reports: list[Progress] = []
    alone = fit(_task(name), Worker(), report=reports.append)
    for update, loss, score, progress in zip(*first.pop("reports").T.tolist(), reports, strict=True):
        assert update == progress.update
        assert loss == pytest.approx(progress.loss, rel=1e-5)
        assert score == pytest.approx(progress.score, abs=5e-3)
    for name, weights in alone.weights.items():
        assert torch.allclose(first[name], weights, rtol=1e-3, atol=1e-4), name
