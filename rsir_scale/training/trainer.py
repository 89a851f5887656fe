"""Training theta_k on Ray Train workers: the Ray shell around `train_iteration`.

Comes in: where the run and its dataset lie, and k. Goes out: the iteration's published model. What resumes is our own
state in the run directory, not a Ray checkpoint: so a worker that dies costs at most one validation interval, and a new
attempt may start with a fresh trainer. Workers tell how far they are through a small file in the run directory;
`ray.train.report` is left out, because it is a barrier that waits for the controller's next look.
"""

import json
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import asdict
from typing import Any

import torch
from ray.exceptions import RayError
from ray.train import RunConfig, ScalingConfig, get_context
from ray.train.torch import TorchTrainer
from ray.train.v2.api.config import FailureConfig
from ray.train.v2.api.exceptions import TrainingFailedError, WorkerGroupError

from rsir_scale.config.settings import TrainingConfig
from rsir_scale.data.dataset import open_dataset
from rsir_scale.errors import ResumableError, RsirError
from rsir_scale.runs import layout
from rsir_scale.runs.begun import read_config
from rsir_scale.runs.trained import has_model
from rsir_scale.storage.base import Store
from rsir_scale.storage.opening import open_store
from rsir_scale.training.epoch import Progress, Worker
from rsir_scale.training.iteration import train_iteration
from rsir_scale.training.network import NodeTorchConfig
from rsir_scale.training.reservations import let_go, reservations

Report = Callable[[Progress], None]
_ATTEMPTS = 3
_LOOK_EVERY_S = 0.5
_WRITE_EVERY_S = 1.0


def train_with_ray(store: Store, dataset_path: str, iteration: int, config: TrainingConfig, report: Report) -> None:
    """Fit theta_k on `training.workers` workers and leave its model published.

    Args:
        store: the run; all nodes reach it under the same path or address.
        dataset_path: absolute path or address of the prepared dataset, for all nodes.
        iteration: k.
        config: how many workers, and what each of them occupies.
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
                trainer = _trainer(store, dataset_path, iteration, config, scratch)
                _await(_start(trainer), store, iteration, report)
                break
            except (TrainingFailedError, RayError, TimeoutError) as error:
                let_go(before)
                _raise_own(error)
                if attempt == _ATTEMPTS:
                    raise ResumableError(
                        f"training of iteration {iteration} failed {_ATTEMPTS} times, last with {_last_line(error)}; "
                        "what was trained is kept: see to the cause and run the same command again"
                    ) from error
    finally:
        store.delete(layout.training_progress(iteration))
        shutil.rmtree(scratch, ignore_errors=True)
    if not has_model(store, iteration):
        raise ResumableError(f"training of iteration {iteration} ended without a model: run the same command again")


def _trainer(store: Store, dataset_path: str, iteration: int, config: TrainingConfig, scratch: str) -> TorchTrainer:
    resources = {"GPU": 1.0} if config.use_gpu else {"CPU": float(config.threads)}
    return TorchTrainer(
        _work,
        train_loop_config={"run": store.root, "dataset": dataset_path, "iteration": iteration},
        torch_config=NodeTorchConfig(backend="nccl" if config.use_gpu else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=config.workers, use_gpu=config.use_gpu, resources_per_worker=resources
        ),
        run_config=RunConfig(
            storage_path=scratch,
            name=f"iteration-{iteration}-{layout.new_attempt()}",
            # Attempts are counted here, where an error of ours can be told from a worker that died.
            failure_config=FailureConfig(max_failures=0, controller_failure_limit=3),
        ),
    )


def _work(arguments: dict[str, Any]) -> None:
    """What each worker does; the group's process group exists already."""
    context = get_context()
    store = open_store(arguments["run"])
    config = read_config(store)
    torch.set_num_threads(config.training.threads)
    device = torch.device("cuda", torch.cuda.current_device()) if config.training.use_gpu else torch.device("cpu")
    torch.use_deterministic_algorithms(config.training.use_gpu, warn_only=True)
    worker = Worker(rank=context.get_world_rank(), size=context.get_world_size(), device=device)
    train_iteration(
        store,
        open_dataset(arguments["dataset"]),
        config,
        arguments["iteration"],
        worker=worker,
        report=_Teller(store, arguments["iteration"]) if worker.rank == 0 else None,
    )


class _Teller:
    """Puts progress where the driver looks, at most once a second."""

    def __init__(self, store: Store, iteration: int) -> None:
        self._store = store
        self._key = layout.training_progress(iteration)
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


def _await(done: "Future[None]", store: Store, iteration: int, report: Report) -> None:
    latest: Progress | None = None
    while True:
        if wait({done}, timeout=_LOOK_EVERY_S).done:
            return done.result()
        found = _read_progress(store, iteration)
        if found is not None and found != latest:
            latest = found
            report(found)


def _read_progress(store: Store, iteration: int) -> Progress | None:
    data = store.read_if_exists(layout.training_progress(iteration))
    return None if data is None else Progress(**json.loads(data))


def _raise_own(error: BaseException) -> None:
    """Raise the RsirError that a worker raised, if that is what ended the group."""
    failures = error.worker_failures.values() if isinstance(error, WorkerGroupError) else ()
    for failure in failures:
        for cause in (failure, getattr(failure, "_base_exc", None), failure.__cause__):
            if isinstance(cause, RsirError):
                raise cause from None


def _last_line(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__
