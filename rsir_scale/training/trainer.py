"""Fits of a run on Ray: the shell around `train_iteration` and whatever else is fitted like it.

Several workers are a group of Ray Train. A single one is a plain Ray task: it needs no controller, no placement group
and no process group, each of which is a process that imports torch, and its process may serve the next iteration.

Comes in: where the run and its dataset lie, and what each worker does. Goes out: what the fit publishes. What resumes
is our own state in the run directory, not a Ray checkpoint: so a worker that dies costs at most one interval of the
fit, and a new attempt may start with a fresh trainer. Workers tell how far they are through a small file in the run
directory; `ray.train.report` is left out, because it is a barrier that waits for the controller's next look.
"""

import json
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import ray
import torch
from ray.exceptions import RayError, RayTaskError
from ray.train import RunConfig, ScalingConfig, get_context
from ray.train.torch import TorchTrainer
from ray.train.v2.api.config import FailureConfig
from ray.train.v2.api.exceptions import TrainingFailedError, WorkerGroupError

from rsir_scale.data.dataset import open_dataset
from rsir_scale.errors import ResumableError, RsirError
from rsir_scale.runs import layout
from rsir_scale.runs.begun import read_config
from rsir_scale.runs.run import Run
from rsir_scale.runs.trained import has_model
from rsir_scale.storage.base import Store
from rsir_scale.storage.opening import open_store
from rsir_scale.training.epoch import Progress
from rsir_scale.training.iteration import train_iteration
from rsir_scale.training.network import NodeTorchConfig
from rsir_scale.training.reservations import let_go, reservations
from rsir_scale.training.worker import Worker

Report = Callable[[Progress], None]
_ATTEMPTS = 3
_LOOK_EVERY_S = 0.5
_WRITE_EVERY_S = 1.0


class Work(Protocol):
    """What each worker of a fit does; a function of a module, because workers import it by its name."""

    def __call__(self, run: Run, iteration: int, *, worker: Worker, report: Report | None) -> None:
        """Fit this worker's share and, on rank 0, publish what was fitted."""
        ...


@dataclass(frozen=True)
class RayFit:
    """A fit of a run, as workers are given it.

    Attributes:
        name: what is fitted, for errors.
        iteration: k.
        work: what each worker does.
        folder: of the fit, where its progress is told (`layout.training` and the like).
        is_done: whether it is published.
    """

    name: str
    iteration: int
    work: Work
    folder: str
    is_done: Callable[[Store, int], bool]


def train_with_ray(run: Run, iteration: int, report: Report) -> None:
    """Fit theta_k on `training.workers` workers and leave its model published; see `fit_with_ray`."""
    fit = RayFit(
        name=f"training of iteration {iteration}",
        iteration=iteration,
        work=train_iteration,
        folder=layout.training(iteration),
        is_done=has_model,
    )
    fit_with_ray(run, fit, report)


def fit_with_ray(run: Run, fit: RayFit, report: Report) -> None:
    """Fit on `training.workers` workers and leave what was fitted published.

    Args:
        run: all nodes reach its root, and its dataset, under the same absolute path or address.
        fit: what is fitted.
        report: called in this thread with the latest progress.

    Raises:
        RsirError: what a worker raised, as it raised it.
        ResumableError: workers died more often than is tried again.
    """
    # Ray Train wants a folder, of which we keep nothing: no checkpoint of its own is ever reported.
    scratch = tempfile.mkdtemp(prefix="rsir-train-")
    try:
        before = reservations()
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                group = _alone(run, fit) if run.config.training.workers == 1 else _start(_trainer(run, fit, scratch))
                _await(group, run.store, fit.folder, report)
                break
            except (TrainingFailedError, RayError, TimeoutError) as error:
                let_go(before)
                _raise_own(error)
                if attempt == _ATTEMPTS:
                    raise ResumableError(
                        f"{fit.name} failed {_ATTEMPTS} times, last with {_last_line(error)}; "
                        "what was trained is kept: see to the cause and run the same command again"
                    ) from error
    finally:
        run.store.delete(layout.fit_progress(fit.folder))
        shutil.rmtree(scratch, ignore_errors=True)
    if not fit.is_done(run.store, fit.iteration):
        raise ResumableError(f"{fit.name} ended without a model: run the same command again")


def _alone(run: Run, fit: RayFit) -> "Future[None]":
    """Begin to fit in one task, which is not tried again: attempts are counted by the caller."""
    config = run.config.training
    task = ray.remote(_fit_share).options(
        num_cpus=0 if config.use_gpu else config.threads,
        num_gpus=1 if config.use_gpu else 0,
        max_retries=0,
        name=f"fit:{fit.folder}",
    )
    done: Future[None] = task.remote(run.store.root, run.dataset.path, fit, 0, 1).future()
    return done


def _trainer(run: Run, fit: RayFit, scratch: str) -> TorchTrainer:
    config = run.config.training
    resources = {"GPU": 1.0} if config.use_gpu else {"CPU": float(config.threads)}
    return TorchTrainer(
        _work,
        train_loop_config={"root": run.store.root, "dataset": run.dataset.path, "fit": fit},
        torch_config=NodeTorchConfig(backend="nccl" if config.use_gpu else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=config.workers, use_gpu=config.use_gpu, resources_per_worker=resources
        ),
        run_config=RunConfig(
            storage_path=scratch,
            name=f"iteration-{fit.iteration}-{layout.new_attempt()}",
            # Attempts are counted here, where an error of ours can be told from a worker that died.
            failure_config=FailureConfig(max_failures=0, controller_failure_limit=3),
        ),
    )


def _work(arguments: dict[str, Any]) -> None:
    """What each worker of a group runs; the process group exists already."""
    context = get_context()
    _fit_share(**arguments, rank=context.get_world_rank(), size=context.get_world_size())


def _fit_share(root: str, dataset: str, fit: RayFit, rank: int, size: int) -> None:
    store = open_store(root)
    run = Run(store, open_dataset(dataset), read_config(store))
    config = run.config.training
    torch.set_num_threads(config.threads)
    device = torch.device("cuda", torch.cuda.current_device()) if config.use_gpu else torch.device("cpu")
    torch.use_deterministic_algorithms(config.use_gpu, warn_only=True)
    worker = Worker(rank=rank, size=size, device=device)
    report = _Teller(store, fit.folder) if worker.rank == 0 else None
    fit.work(run, fit.iteration, worker=worker, report=report)


class _Teller:
    """Puts progress where the driver looks, at most once a second."""

    def __init__(self, store: Store, folder: str) -> None:
        self._store = store
        self._key = layout.fit_progress(folder)
        self._last = float("-inf")

    def __call__(self, progress: Progress) -> None:
        now = time.monotonic()
        if now - self._last >= _WRITE_EVERY_S:
            self._last = now
            self._store.put(self._key, json.dumps(asdict(progress)).encode())


def _start(trainer: TorchTrainer) -> "Future[None]":
    """Run `fit` beside the main thread: there it would take over the handling of SIGINT."""
    done: Future[None] = Future()

    def fit() -> None:
        try:
            trainer.fit()
        except BaseException as error:  # noqa: BLE001 - handed to the thread that waits
            done.set_exception(error)
        else:
            done.set_result(None)

    threading.Thread(target=fit, name="train", daemon=True).start()
    return done


def _await(done: "Future[None]", store: Store, folder: str, report: Report) -> None:
    latest: Progress | None = None
    while True:
        if wait({done}, timeout=_LOOK_EVERY_S).done:
            return done.result()
        found = _read_progress(store, folder)
        if found is not None and found != latest:
            latest = found
            report(found)


def _read_progress(store: Store, folder: str) -> Progress | None:
    data = store.read_if_exists(layout.fit_progress(folder))
    return None if data is None else Progress(**json.loads(data))


def _raise_own(error: BaseException) -> None:
    """Raise the RsirError that a worker raised, if that is what ended the fit."""
    if isinstance(error, RayTaskError) and isinstance(error.cause, RsirError):
        raise error.cause from None
    failures = error.worker_failures.values() if isinstance(error, WorkerGroupError) else ()
    for failure in failures:
        for cause in (failure, getattr(failure, "_base_exc", None), failure.__cause__):
            if isinstance(cause, RsirError):
                raise cause from None


def _last_line(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__
