"""Drivers, workers, actors and `rsir clean`, interleaved at will, on one run: whatever comes, the same rows count."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import uuid
from functools import cache, partial
from pathlib import Path
from tempfile import mkdtemp

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from devtools.s3_server import S3Server
from rsir_scale.errors import InputError, ResumableError, StorageFullError
from rsir_scale.runs import layout
from rsir_scale.runs.begun import stored_run
from rsir_scale.runs.commits import check_conservation, read_commit
from rsir_scale.runs.content import digest
from rsir_scale.runs.leftovers import clean, leftovers
from rsir_scale.runs.manifest import read_chain
from rsir_scale.runs.plan import read_plan
from rsir_scale.runs.records import FileEntry
from rsir_scale.runs.status import read_status
from rsir_scale.runs.trained import has_model, read_model
from rsir_scale.storage.base import Store, sha256_of
from rsir_scale.storage.opening import open_store
from tests.faults.protocol import ITERATIONS, Process, attempt, drive, hosts, sweep, train
from tests.faults.steps import nameless
from tests.faults.world import Clock

MOST_PROCESSES = 6
HOSTS = ("one", "two", "three")
# Every interleaving that was tried in this process, by its hash.
INTERLEAVINGS: set[bytes] = set()
_process_of = st.integers(0, MOST_PROCESSES - 1)
_host = st.integers(0, len(HOSTS) - 1)


@cache
def golden() -> tuple[str | None, frozenset[str], tuple[str, ...]]:
    """What one driver that nobody disturbs leaves: the digest, its keys, and the hashes of its weights."""
    store = open_store(Path(mkdtemp(prefix="rsir-test-")))
    with hosts():
        drive(None, store, clock=Clock())
    return _left(store)


def _left(store: Store) -> tuple[str | None, frozenset[str], tuple[str, ...]]:
    keys = frozenset(nameless(key) for key in store.list("") if not key.startswith("lease/"))
    weights = tuple(entry.sha256 for k in range(ITERATIONS) for entry in read_model(store, k).weights)
    return digest(stored_run(store)), keys, weights


class Protocol(RuleBasedStateMachine):
    """Rules are what may happen; after each of them the invariants hold, and in the end a fresh driver finishes."""

    root = ""

    def __init__(self) -> None:
        super().__init__()
        golden()
        self._hosts = hosts()
        self._hosts.__enter__()
        self.url = f"{self.root}/{uuid.uuid4().hex}" if self.root else mkdtemp(prefix="rsir-test-")
        self.store = open_store(self.url)
        self.clocks = [Clock() for _ in HOSTS]
        self.living: list[Process] = []
        self.dead: list[Process] = []
        self.trace = hashlib.sha256()
        self.seen: dict[str, str] = {}

    @precondition(lambda self: len(self.living) < MOST_PROCESSES)
    @rule(host=_host)
    def a_driver_starts(self, host: int) -> None:
        self._start(HOSTS[host], partial(drive, clock=self.clocks[host]))

    @precondition(lambda self: len(self.living) < MOST_PROCESSES)
    @rule(host=_host)
    def somebody_cleans_up(self, host: int) -> None:
        self._start(HOSTS[host], partial(sweep, clock=self.clocks[host]))

    @precondition(lambda self: len(self.living) < MOST_PROCESSES and self.store.exists(layout.plan(0)))
    @rule(shard=st.integers(0, 3), latest=st.booleans())
    def an_actor_takes_a_shard(self, shard: int, latest: bool) -> None:
        iteration = int(latest and self.store.exists(layout.plan(1)))
        self._start("actor", partial(attempt, iteration=iteration, shard=shard))

    @precondition(lambda self: len(self.living) < MOST_PROCESSES and self.store.exists(layout.PROVENANCE))
    @rule(latest=st.booleans())
    def a_worker_trains(self, latest: bool) -> None:
        iteration = int(latest and self.store.exists(layout.generation_link(0)))
        self._start("worker", partial(train, iteration=iteration))

    @precondition(lambda self: self.living)
    @rule(number=_process_of, count=st.sampled_from([1, 1, 2, 3, 5, 10, 20, 50, 100]))
    def a_process_goes_on(self, number: int, count: int) -> None:
        process = self._chosen(number)
        for _ in range(count):
            if process.at is None:
                break
            self._step(process)
        self._see_off(process)

    @precondition(lambda self: self.living)
    @rule(number=_process_of, torn=st.booleans())
    def a_process_dies(self, number: int, torn: bool) -> None:
        process = self._chosen(number)
        self.living.remove(process)
        self.trace.update(f"{process.number} dies\n".encode())
        if torn and process.at is not None and process.at[0] == "put_new.sync":
            file = Path(self.url, process.at[1])
            os.truncate(file, file.stat().st_size // 2)
        self.dead.append(process)

    @precondition(lambda self: self.living)
    @rule(number=_process_of, error=st.sampled_from([errno.ENOSPC, errno.EIO]))
    def an_operation_fails(self, number: int, error: int) -> None:
        process = self._chosen(number)
        if process.at is not None and process.at[0] not in ("start", "create.done", "put.done", "put_new.done"):
            self._step(process, self._failure(error))
        self._see_off(process)

    @precondition(lambda self: self.living)
    @rule(number=_process_of)
    def a_lease_is_renewed(self, number: int) -> None:
        process = self._chosen(number)
        if process.lease is not None:
            try:
                process.lease.renew()
            except ResumableError:
                self.trace.update(f"{process.number} lost\n".encode())

    @rule(host=_host, seconds=st.sampled_from([-1_000_000.0, -150.0, 50.0, 150.0, 150.0, 1000.0]))
    def a_clock_moves(self, host: int, seconds: float) -> None:
        self.clocks[host].now += seconds
        self.trace.update(f"{host} {seconds}\n".encode())

    @invariant()
    def what_counts_stays_as_it_is(self) -> None:
        for iteration in range(ITERATIONS):
            self._unchanged(layout.plan(iteration))
            self._unchanged(layout.model_link(iteration))
            self._unchanged(layout.generation_link(iteration))
            if has_model(self.store, iteration):
                self._unchanged(layout.model(iteration))
                for entry in read_model(self.store, iteration).weights:
                    self._whole(entry)
            if self.store.exists(layout.plan(iteration)):
                for shard in read_plan(self.store, iteration).shards:
                    self._counted_once(iteration, shard.index)

    @invariant()
    def manifests_make_a_chain_of_the_golden_rows(self) -> None:
        chain = read_chain(self.store)
        for manifest in chain:
            for entry in manifest.files:
                self._whole(entry)
        contents = [m.generation.content_sha256 for m in chain if m.generation is not None]
        assert contents == _golden_contents()[: len(contents)]

    def teardown(self) -> None:
        try:
            self._finish()
        finally:
            for process in (*self.living, *self.dead):
                process.abandon()
            self._hosts.__exit__(None, None, None)
            if not self.root:
                shutil.rmtree(self.url, ignore_errors=True)

    def _finish(self) -> None:
        """A fresh driver, long after; then whoever still lives wakes up; then `rsir clean`."""
        INTERLEAVINGS.add(self.trace.digest())
        late = Clock()
        late.now = max(clock.now for clock in self.clocks) + 10_000_000
        drive(None, self.store, clock=late)
        self.what_counts_stays_as_it_is()
        for process in list(self.living):
            while process.at is not None:
                self._step(process)
            self._see_off(process)
        self.what_counts_stays_as_it_is()
        assert read_status(self.store)["digest"] == golden()[0]
        late.now += 10_000_000
        clean(self.store, clock=late)
        assert leftovers(self.store) == []
        left = _left(self.store)
        assert left == golden(), left[1] ^ golden()[1]

    def _start(self, name: str, work) -> None:  # type: ignore[no-untyped-def]
        number = len(self.living) + len(self.dead)
        self.living.append(Process(number, name, partial(open_store, self.url), work))
        self.trace.update(f"{number} {name}\n".encode())

    def _failure(self, error: int) -> Exception:
        """What fails an operation: a folder's are the system's errors."""
        return OSError(error, os.strerror(error))

    def _chosen(self, number: int) -> Process:
        return self.living[number % len(self.living)]

    def _step(self, process: Process, fault: BaseException | None = None) -> None:
        operation, key = process.at or ("", "")
        self.trace.update(f"{process.number} {operation} {nameless(key)} {type(fault).__name__}\n".encode())
        process.step(fault)

    def _see_off(self, process: Process) -> None:
        if process.at is not None:
            return
        self.living.remove(process)
        self.dead.append(process)
        if process.error is not None and not isinstance(process.error, ResumableError):
            # Only `rsir clean` may come before there is a run.
            assert isinstance(process.error, InputError), process.error
            assert "is no run" in str(process.error)

    def _unchanged(self, key: str) -> None:
        found = self.store.read_if_exists(key)
        if found is None:
            assert key not in self.seen, f"{key} is gone"
            return
        digest = hashlib.sha256(found).hexdigest()
        assert self.seen.setdefault(key, digest) == digest, f"{key} was changed"

    def _whole(self, entry: FileEntry) -> None:
        assert sha256_of(self.store, entry.key) == (entry.sha256, entry.bytes), f"{entry.key} is not what counts"

    def _counted_once(self, iteration: int, shard: int) -> None:
        record = read_commit(self.store, iteration, shard)
        self._unchanged(layout.commit(iteration, shard))
        if record is not None:
            check_conservation(record)
            self._whole(record.part)


@cache
def _golden_contents() -> list[str]:
    store = open_store(Path(mkdtemp(prefix="rsir-test-")))
    with hosts():
        drive(None, store, clock=Clock())
    return [m.generation.content_sha256 for m in read_chain(store) if m.generation is not None]


def interleavings(machine: type[Protocol], *, examples: int, steps: int) -> int:
    """Run a machine; returns how many distinct interleavings that were."""
    before = len(INTERLEAVINGS)
    run_state_machine_as_test(
        machine, settings=settings(max_examples=examples, stateful_step_count=steps, deadline=None)
    )
    return len(INTERLEAVINGS) - before


def test_processes_interleaved_at_will_on_a_folder() -> None:
    assert interleavings(Protocol, examples=12, steps=30) > 6


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_many_interleavings_on_a_folder() -> None:
    print(json.dumps({"distinct interleavings": interleavings(Protocol, examples=1000, steps=60)}))


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_processes_interleaved_at_will_on_a_bucket(bucket: str, server: S3Server) -> None:
    class InABucket(Protocol):
        root = bucket

        def _failure(self, error: int) -> Exception:
            """A bucket's are what is left when requests were made again in vain."""
            return StorageFullError("no room") if error == errno.ENOSPC else ResumableError("no answer")

    print(json.dumps({"distinct interleavings": interleavings(InABucket, examples=30, steps=30)}))
