"""The commit protocol without what is computed: drivers, workers and actors that stop before each operation of a store.

A process here is a thread that goes on only when it is told to. One that is never told again is dead, and one that is
told late is a zombie: to whoever reads the store the two look alike until then.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial

import pytest
import torch

from rsir_scale.config.settings import Config, ModelConfig
from rsir_scale.errors import IntegrityError
from rsir_scale.models.repository import publish_weights
from rsir_scale.runs import layout, lease
from rsir_scale.runs.commits import commit, missing_shards, read_commit, write_part
from rsir_scale.runs.leftovers import clean
from rsir_scale.runs.lineage import load_slices
from rsir_scale.runs.open_run import open_run
from rsir_scale.runs.plan import plan_iteration, read_plan
from rsir_scale.runs.process import this_process
from rsir_scale.runs.records import entry_of
from rsir_scale.runs.settle import SettleRules, settle
from rsir_scale.runs.trained import ModelDescription, TrainedModel, has_model, publish_model, read_model
from rsir_scale.storage import local
from rsir_scale.storage.base import Store
from rsir_scale.training.state import FitState, Position, StateFiles
from tests.runs import world

ITERATIONS, UPDATES = 2, 2
Clock = Callable[[], float]
Opener = Callable[..., Store]


def config() -> Config:
    """Settings of the run."""
    return world.config(generation={"trials_per_sequence": world.TRIALS, "shard_sources": 12})


class Process:
    """A process that stops before each operation.

    Attributes:
        at: the operation that it is about to do, and its key; None when it has ended.
        error: what ended it, if anything did.
    """

    def __init__(self, number: int, name: str, open_store: Opener, work: Callable[[Process, Store], None]) -> None:
        self.number, self.name = number, name
        self.at: tuple[str, str] | None = ("start", "")
        self.error: BaseException | None = None
        self.lease: lease.Lease | None = None
        self._fault: BaseException | None = None
        self._go, self._stopped = threading.Semaphore(0), threading.Semaphore(0)
        store = open_store(before=self._before)
        self._thread = threading.Thread(target=self._run, args=(partial(work, self, store),), name=name, daemon=True)
        self._thread.start()

    def step(self, fault: BaseException | None = None) -> None:
        """Do the operation at hand, or let it fail, and go on to the next."""
        self._fault = fault
        self._go.release()
        self._stopped.acquire()

    def abandon(self) -> None:
        """End the thread; whatever it does from here on fails."""
        while self.at is not None:
            self.step(_AbandonedError())
        self._thread.join()

    def _run(self, work: Callable[[], None]) -> None:
        self._go.acquire()
        try:
            if not isinstance(self._fault, _AbandonedError):
                work()
        except BaseException as error:  # noqa: BLE001 - looked at by who watches the process
            self.error = error
        self.at = None
        self._stopped.release()

    def _before(self, operation: str, key: str) -> None:
        # The lease's own thread is not part of the game.
        if threading.current_thread() is not self._thread:
            return
        self.at = (operation, key)
        self._stopped.release()
        self._go.acquire()
        if self._fault is not None:
            raise self._fault


class _AbandonedError(BaseException):
    """The example is over."""


@contextmanager
def hosts() -> Iterator[None]:
    """Each driver is of the host that its thread is named after; nothing waits for a disk."""
    here = this_process()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(
            lease, "this_process", lambda: here.model_copy(update={"host": threading.current_thread().name})
        )
        patched.setattr(local.os, "fsync", lambda descriptor: None)
        yield


def drive(process: Process | None, store: Store, *, clock: Clock) -> None:
    """What `run_recursion` does, in its order."""
    with open_run(store, config(), world.dataset(), clock=clock) as run:
        if process is not None:
            process.lease = run.lease
        for iteration in range(ITERATIONS):
            if not store.exists(layout.model_link(iteration)):
                if not has_model(store, iteration):
                    run.lease.assert_held()
                    train(process, store, iteration=iteration)
                files = (entry_of(store, layout.model(iteration), "model"), *read_model(store, iteration).weights)
                world.finish(store, run.lease, iteration, files=files)
            if store.exists(layout.generation_link(iteration)):
                continue
            plan = plan_iteration(run, iteration, trials=world.TRIALS)
            run.lease.assert_held()
            for shard in missing_shards(store, plan):
                attempt(process, store, iteration=iteration, shard=shard.index)
            generation, files = settle(run, plan, SettleRules("of_all"), attempt=layout.new_attempt())
            world.close(store, run.lease, iteration, generation, files)


def train(process: Process | None, store: Store, *, iteration: int) -> None:
    """What `train_iteration` does: a fit whose weights tell of each update."""
    saved, state = StateFiles(store, layout.training(iteration)), None
    with suppress(IntegrityError):
        state = saved.read()
    state = state or FitState(Position(), {"model/weight": torch.zeros(3, dtype=torch.float64)})
    for update in range(state.position.update, UPDATES):
        weight = state.tensors["model/weight"] * 3 + iteration + update + 1
        state = FitState(Position(update=update + 1), {"model/weight": weight})
        saved.write(state)
    weights = publish_weights(store, iteration, state.tensors, attempt=layout.new_attempt())
    publish_model(
        store,
        iteration,
        TrainedModel(
            description=ModelDescription(model=ModelConfig(), item_count=60, max_length=8),
            weights=weights,
            updates=UPDATES,
            best_update=UPDATES,
            validation_score=0.5,
            train_s=0.0,
        ),
    )
    saved.delete()


def attempt(process: Process | None, store: Store, *, iteration: int, shard: int) -> None:
    """What `run_shard` does."""
    plan = read_plan(store, iteration)
    work = plan.shards[shard % len(plan.shards)]
    if read_commit(store, iteration, work.index) is not None:
        return
    sources = len(load_slices(world.run_in(store), plan.files, work.slices))
    name, table = layout.new_attempt(), world.table(world.rows_of(plan, work, sources))
    part = write_part(store, iteration=iteration, shard=work.index, attempt=name, table=table)
    commit(store, world.record_of(plan, work, name, part, sources))


def sweep(process: Process | None, store: Store, *, clock: Clock) -> None:
    """What `rsir clean` does."""
    clean(store, clock=clock)
