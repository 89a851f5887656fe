"""The lease: one driver; the dead are succeeded, the living never."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from rsir_scale.errors import IntegrityError, LeaseHeldError, ResumableError, StorageFullError
from rsir_scale.runs import layout
from rsir_scale.runs.lease import Lease, LeaseRecord
from rsir_scale.runs.process import Process, this_process
from rsir_scale.storage.base import Store
from rsir_scale.storage.local import LocalStore
from rsir_scale.storage.opening import open_store


class Clock:
    """Seconds that pass only when told."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


def _held_by(store: Store, holder: Process, clock: Clock, duration_s: float = 60.0, generation: int = 0) -> None:
    record = LeaseRecord(holder=holder, since=clock(), expires_at=clock() + duration_s)
    store.create(layout.lease(generation), record.to_bytes())


def _elsewhere(**fields: object) -> Process:
    return this_process().model_copy(update={"host": "far-away", **fields})


def test_living_holder_refuses_a_second_driver_by_name(tmp_path: Path) -> None:
    store, clock = open_store(tmp_path), Clock()
    with Lease(store, clock=clock):
        clock.now += 10_000_000
        with pytest.raises(LeaseHeldError) as caught:
            Lease(store, clock=clock).acquire()
    message = str(caught.value)
    assert str(os.getpid()) in message
    assert this_process().host in message
    assert "since 2023-11-14T22:13:20+00:00" in message
    assert caught.value.exit_code == 3


def test_released_lease_is_free_at_once(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    for generation in range(12):
        with Lease(store) as lease:
            lease.assert_held()
        assert store.exists(layout.lease(generation))
        with pytest.raises(ResumableError, match="holds no lease"):
            lease.assert_held()
    assert not store.exists(layout.lease(12))


def test_dead_process_of_this_host_is_succeeded_at_once(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from rsir_scale.runs.lease import Lease;"
        "from rsir_scale.storage.opening import open_store;"
        "Lease(open_store(sys.argv[1])).acquire(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False).returncode < 0
    store = open_store(tmp_path)
    with Lease(store):
        assert store.exists(layout.lease(1))


def test_zombie_is_dead(tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    clock, store = Clock(), open_store(tmp_path)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)  # it has ended, and stays a zombie
    stat = Path(f"/proc/{child}/stat")
    if not stat.exists():
        pytest.skip("this system has no /proc")
    started = float(stat.read_text().rpartition(")")[2].split()[19])
    _held_by(store, this_process().model_copy(update={"pid": child, "started": started}), clock)
    with Lease(store, clock=clock) as lease:
        lease.assert_held()
    os.waitpid(child, 0)


@pytest.mark.parametrize("fields", [{"started": 1.0}, {"boot_id": "an earlier boot"}, {"pid": 2**22 + 1}])
def test_reused_process_id_and_earlier_boot_are_dead(tmp_path: Path, fields: dict[str, object]) -> None:
    store, clock = open_store(tmp_path), Clock()
    _held_by(store, this_process().model_copy(update=fields), clock)
    with Lease(store, clock=clock) as lease:
        lease.assert_held()


@pytest.mark.parametrize("fields", [{}, {"host": this_process().host, "machine": "another of this name"}])
def test_other_host_is_waited_for_until_its_expiry(tmp_path: Path, fields: dict[str, object]) -> None:
    store, clock = open_store(tmp_path), Clock()
    _held_by(store, _elsewhere(**fields), clock)
    clock.now += 59
    with pytest.raises(LeaseHeldError, match=r"after 2023-11-14T22:14:20\+00:00 \(1 s from now\)"):
        Lease(store, clock=clock).acquire()
    clock.now += 1
    with Lease(store, clock=clock) as lease:
        lease.assert_held()


def test_another_boot_of_a_host_without_a_machine_id_may_be_another_host(tmp_path: Path) -> None:
    anonymous = this_process().model_copy(update={"machine": ""})
    store, clock = open_store(tmp_path), Clock()
    _held_by(store, anonymous.model_copy(update={"boot_id": "another boot"}), clock)
    with pytest.raises(LeaseHeldError):
        Lease(store, clock=clock, process=anonymous).acquire()
    clock.now += 60
    with Lease(store, clock=clock, process=anonymous) as lease:
        lease.assert_held()


def test_other_process_namespace_is_judged_by_expiry(tmp_path: Path) -> None:
    store, clock = open_store(tmp_path), Clock()
    _held_by(store, this_process().model_copy(update={"namespace": "pid:[1]", "pid": 2**22 + 1}), clock)
    with pytest.raises(LeaseHeldError, match="whether it lives cannot be seen"):
        Lease(store, clock=clock).acquire()


def test_succeeded_driver_learns_it_and_leaves_the_successor_alone(tmp_path: Path) -> None:
    store, clock = open_store(tmp_path), Clock()
    old = Lease(store, clock=clock, process=_elsewhere())
    old.acquire()
    clock.now += 1000
    with Lease(store, clock=clock) as new:
        for call in (old.assert_held, old.renew):
            with pytest.raises(ResumableError, match="took this run over"):
                call()
        successor = store.read(layout.lease(1))
        old.release()
        assert store.read(layout.lease(1)) == successor
        new.assert_held()
    assert json.loads(store.read(layout.lease(0)))["released"] is False


def _moved_on(store: Store, first: float, *, wait_s: float = 5.0) -> float:
    """The lease's expiry as soon as it is another than `first`, or what it is after the wait."""
    deadline = time.monotonic() + wait_s
    while (expires_at := json.loads(store.read(layout.lease(0)))["expires_at"]) == first:
        if time.monotonic() > deadline:
            break
        time.sleep(0.01)
    return float(expires_at)


def test_background_renewal_moves_the_expiry(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with Lease(store, duration_s=0.2):
        first = json.loads(store.read(layout.lease(0)))["expires_at"]
        assert _moved_on(store, first) > first


def test_full_disk_ends_neither_renewal_nor_release(tmp_path: Path) -> None:
    full = threading.Event()

    def before(step: str, key: str) -> None:
        if full.is_set() and step == "put.write":
            raise StorageFullError(f"{key}: no room left")

    store = LocalStore(tmp_path, before=before)
    with Lease(store, duration_s=0.04) as lease:
        full.set()
        time.sleep(0.1)
        lease.assert_held()
        full.clear()
        first = json.loads(store.read(layout.lease(0)))["expires_at"]
        assert _moved_on(store, first) > first
        full.set()


def test_of_many_contenders_for_a_dead_lease_one_drives(tmp_path: Path) -> None:
    clock = Clock()
    _held_by(open_store(tmp_path), this_process().model_copy(update={"started": 1.0}), clock)
    barrier, held, refused = threading.Barrier(6), [], []

    def contend() -> None:
        lease = Lease(open_store(tmp_path))
        barrier.wait()
        try:
            lease.acquire()
        except LeaseHeldError:
            refused.append(lease)
        else:
            held.append(lease)

    threads = [threading.Thread(target=contend) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(held), len(refused)) == (1, 5)
    held[0].assert_held()
    held[0].release()


def test_damaged_lease_is_named(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.put(layout.lease(0), b"{")
    with pytest.raises(IntegrityError, match=r"lease/00000\.json"):
        Lease(store).acquire()
    record = LeaseRecord(holder=_elsewhere(), since=1e300, expires_at=1e300)
    store.put(layout.lease(0), record.to_bytes())
    with pytest.raises(IntegrityError, match="is not a time"):
        Lease(store).acquire()
