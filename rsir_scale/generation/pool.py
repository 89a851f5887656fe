"""Generation on a pool of Ray Data actors: the Ray shell around `run_shard`.

Comes in: the shards of a stored plan that are not committed yet. Goes out: their commits, in the run directory; through
Ray pass only shard numbers and counters. The largest shards go first, so that no actor works alone at the end. An error
of ours comes back as a row and is raised here, so that a full disk is not tried again. An actor that stands still ends
itself. When one dies, a fresh pool takes what is not committed, and its actors decode in child processes, which may die
in their stead (`isolation`): Ray Data would restart actors for ever, even for a shard that kills them.
"""

import gc
import os
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from math import ceil
from typing import Any

import numpy as np
import ray.data
import torch
from ray.data import ActorPoolStrategy, DataContext
from ray.data.exceptions import ExecutionTimeoutError
from ray.exceptions import RayError
from ray.util.annotations import RayDeprecationWarning

from rsir_scale import errors
from rsir_scale.augmenters.opening import augmenter_of
from rsir_scale.config.settings import Config
from rsir_scale.errors import ResumableError, RsirError
from rsir_scale.generation.isolation import IsolatedWriter, Where, narrowing_s, settle_arithmetic
from rsir_scale.generation.shard import Generator, Writer, open_writer, run_shard
from rsir_scale.runs.commits import CommitRecord
from rsir_scale.runs.plan import Shard, read_plan
from rsir_scale.runs.run import Run

Batch = dict[str, Any]
_POOLS = 3
_STILL_S = 900.0
_SPARE_S = 120.0
_COUNTERS = ("trials", "steps", "accepted_steps", "rows_kept")


def generate_with_ray(
    run: Run, iteration: int, shards: Sequence[Shard], report: Callable[[int, dict[str, int]], None]
) -> None:
    """Compute and commit `shards` on `generation.actors` actors.

    Args:
        run: all nodes see its root, and its dataset, under the same path.
        iteration: k; its plan is stored and its model published.
        shards: what is not committed yet.
        report: called with each shard's index and counters, in the order in which they finish.

    Raises:
        RsirError: what an actor raised, by its kind.
        ResumableError: actors died more often than is tried again.
    """
    missing, config = {shard.index: shard for shard in shards}, run.config.generation
    where = Where(run.store.root, run.dataset.path, iteration, "cuda" if config.use_gpu else "cpu")
    if augmenter_of(run, iteration).prepares:
        _prepare(where)
    for attempt in range(1, _POOLS + 1):
        if not missing:
            return
        try:
            pool = _dataset(where, list(missing.values()), run.config, isolated=attempt > 1)
            for row in pool.iter_rows():
                if row["error"]:
                    raise _as_error(row["error"], row["message"])
                del missing[int(row["shard"])]
                report(int(row["shard"]), {name: int(row[name]) for name in _COUNTERS})
        except (RayError, ExecutionTimeoutError, TimeoutError) as error:
            if attempt == _POOLS:
                raise ResumableError(
                    f"generation of iteration {iteration} broke off {_POOLS} times with {len(missing)} shards to do, "
                    f"at last with {type(error).__name__}: {_last_line(error)}; what is committed is kept: see to the "
                    "cause and run the same command again"
                ) from error
            gc.collect()


def _prepare(where: Where) -> None:
    """Have made, where an actor would run, what all shards of the iteration need."""
    on_gpu = where.device != "cpu"
    task: Any = ray.remote(num_cpus=0 if on_gpu else 1, num_gpus=1 if on_gpu else 0, max_retries=_POOLS)(_prepare_here)
    try:
        kind, message = ray.get(task.remote(where))
    except RayError as error:
        raise ResumableError(
            f"iteration {where.iteration} could not be prepared for writing ({_last_line(error)}): see to the cause "
            "and run the same command again"
        ) from error
    if kind:
        raise _as_error(kind, message)


def _prepare_here(where: Where) -> tuple[str, str]:
    torch.set_num_threads(1)
    run = where.open_run()
    try:
        augmenter_of(run, where.iteration, device=where.device).prepare(read_plan(run.store, where.iteration))
    except RsirError as error:
        return _kind(error), str(error)
    return "", ""


def _dataset(where: Where, shards: Sequence[Shard], settings: Config, *, isolated: bool) -> "ray.data.Dataset":
    still_s = None if isolated else max(_STILL_S, settings.run.shard_timeout_s)
    _settings(waits_s=ceil(narrowing_s(settings) if still_s is None else still_s + _SPARE_S))
    config = settings.generation
    largest_first = sorted(shards, key=lambda shard: (-shard.rows, shard.index))
    descriptors = ray.data.from_items(
        [{"shard": shard.index} for shard in largest_first], override_num_blocks=len(largest_first)
    )
    with warnings.catch_warnings():
        # Ray 2.60 has no other way to cap restarts, and warns that this one goes in 2.64.
        warnings.filterwarnings("ignore", message=".*ray_remote_args", category=RayDeprecationWarning)
        return descriptors.map_batches(
            _ShardActor,
            batch_size=1,
            batch_format="numpy",
            compute=ActorPoolStrategy(size=min(config.actors, len(shards)), max_tasks_in_flight_per_actor=1),
            fn_constructor_kwargs={"where": where, "still_s": still_s},
            num_cpus=None if config.use_gpu else 1,
            num_gpus=1 if config.use_gpu else None,
            max_restarts=0,
        )


def _settings(*, waits_s: int) -> None:
    context = DataContext.get_current()
    context.execution_no_progress_timeout_s = waits_s
    context.enable_progress_bars = False
    context.print_on_execution_start = False


class _ShardActor:
    """Loads the model once, then computes one shard a call: within `still_s` seconds, or apart, where that is None."""

    def __init__(self, *, where: Where, still_s: float | None) -> None:
        self._where = where
        self._still_s = still_s
        self._generator: Generator | None = None
        settle_arithmetic(where.device)

    def __call__(self, batch: Batch) -> Batch:
        index = int(batch["shard"][0])
        try:
            generator = self._open()
            with nullcontext() if self._still_s is None else _within(self._still_s):
                record = run_shard(generator, generator.plan.shards[index])
        except RsirError as error:
            return _row(index, error=error)
        return _row(index, record=record)

    def _open(self) -> Generator:
        if self._generator is None:
            run, iteration = self._where.open_run(), self._where.iteration
            writer: Writer
            if self._still_s is None:
                writer = IsolatedWriter(
                    self._where,
                    shard_s=run.config.run.shard_timeout_s,
                    shard_sources=run.config.generation.shard_sources,
                )
            else:
                writer = open_writer(run, iteration, device=self._where.device)
            self._generator = Generator(augmenter_of(run, iteration), read_plan(run.store, iteration), writer)
        return self._generator


@contextmanager
def _within(seconds: float) -> Iterator[None]:
    """End this process where the block takes longer: nothing else ends what hangs in it, or frees what it holds."""
    timer = threading.Timer(min(seconds, threading.TIMEOUT_MAX), os._exit, (1,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _row(shard: int, *, record: CommitRecord | None = None, error: RsirError | None = None) -> Batch:
    values: dict[str, Any] = {
        "shard": shard,
        "error": "" if error is None else _kind(error),
        "message": "" if error is None else str(error),
    }
    values |= {name: 0 if record is None else record.counts.get(name, 0) for name in _COUNTERS}
    return {name: np.array([value]) for name, value in values.items()}


def _kind(error: RsirError) -> str:
    """Name of the nearest class of the family that `errors` defines: those carry the exit codes."""
    return next(kind.__name__ for kind in type(error).__mro__ if kind.__module__ == errors.__name__)


def _as_error(kind: str, message: str) -> RsirError:
    found: RsirError = getattr(errors, kind)(message)
    return found


def _last_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else "no message"
