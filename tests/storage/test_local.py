"""The local store: atomic creation, crashes at every step, full disks, and keys that try to leave the root."""

import errno
import io
import os
import signal
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsir_scale.errors import ConfigError, IntegrityError, ResumableError, StorageFullError
from rsir_scale.storage import local
from rsir_scale.storage.base import AlreadyExistsError
from rsir_scale.storage.local import LocalStore
from rsir_scale.storage.opening import open_store
from tests.storage.contract import WRITES, StoreContract, Stores


class TestAFolder(StoreContract):
    @pytest.fixture
    def stores(self, tmp_path: Path) -> Stores:
        return partial(open_store, tmp_path / "run")


STEPS = {
    "create": ["create.write", "create.sync", "create.link", "create.sync_folder", "create.unlink", "create.done"],
    "put": ["put.write", "put.sync", "put.replace", "put.sync_folder", "put.done"],
    "put_new": ["put_new.write", "put_new.sync", "put_new.sync_folder", "put_new.done"],
}


def _killed_at(root: Path, operation: str, step: str) -> None:
    """Run one write in a child process that is killed (SIGKILL) before `step`."""

    def before(reached: str, key: str) -> None:
        if reached == step:
            os.kill(os.getpid(), signal.SIGKILL)

    child = os.fork()
    if child == 0:
        getattr(LocalStore(root, before=before), operation)("a/b", b"new")
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), f"{step} was never reached"


@pytest.mark.parametrize("step", STEPS["create"])
def test_create_killed_at_any_step_leaves_all_or_nothing(tmp_path: Path, step: str) -> None:
    _killed_at(tmp_path, "create", step)
    store = LocalStore(tmp_path)
    found = store.read_if_exists("a/b")
    assert found in (None, b"new")
    assert (found is not None) == (STEPS["create"].index(step) > STEPS["create"].index("create.link"))
    if found is None:
        store.create("a/b", b"again")
        assert store.read("a/b") == b"again"
    else:
        with pytest.raises(AlreadyExistsError):
            store.create("a/b", b"again")


@pytest.mark.parametrize("step", STEPS["put"])
def test_put_killed_at_any_step_shows_old_or_new_bytes(tmp_path: Path, step: str) -> None:
    LocalStore(tmp_path).put("a/b", b"old")
    _killed_at(tmp_path, "put", step)
    assert LocalStore(tmp_path).read("a/b") in (b"old", b"new")
    LocalStore(tmp_path).put("a/b", b"newer")
    assert LocalStore(tmp_path).read("a/b") == b"newer"


@pytest.mark.parametrize("operation", WRITES)
def test_every_write_passes_its_steps_in_order(tmp_path: Path, operation: str) -> None:
    steps: list[str] = []
    store = LocalStore(tmp_path, before=lambda step, key: steps.append(step))
    getattr(store, operation)("a/b", b"x")
    assert steps == STEPS[operation]


@pytest.mark.parametrize("operation", WRITES)
def test_bytes_are_synced_before_they_are_named(
    tmp_path: Path, operation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    trail: list[str] = []
    sync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda descriptor: (trail.append("fsync"), sync(descriptor))[1])
    store = LocalStore(tmp_path, before=lambda step, key: trail.append(step))
    getattr(store, operation)("b", b"x")
    named = {"create": "create.link", "put": "put.replace", "put_new": "put_new.sync_folder"}[operation]
    assert "fsync" in trail[: trail.index(named)]
    assert trail[-2:] == ["fsync", f"{operation}.done"] or trail[-3:-1] == ["fsync", "create.unlink"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("operation", WRITES)
def test_full_disk_leaves_nothing_behind(
    tmp_path: Path, operation: str, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = LocalStore(tmp_path)

    def refuse(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(local.os, "fsync", refuse)
        (tmp_path / "a").mkdir()
        with pytest.raises(StorageFullError, match="free space") as caught:
            getattr(store, operation)("a/b", b"x" * 100)
    assert caught.value.exit_code == 3
    assert list(store.list("")) == []
    getattr(store, operation)("a/b", b"x")
    assert store.read("a/b") == b"x"


def test_really_full_device_is_recognised() -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")
    with pytest.raises(StorageFullError), local._faults("part"), io.FileIO(full, "w") as file:
        file.write(b"x")


@pytest.mark.parametrize("call", ["read", "read_if_exists", "exists", "delete"])
def test_a_disk_that_fails_is_a_fault_that_can_be_resumed(tmp_path: Path, call: str) -> None:
    def before(step: str, key: str) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with pytest.raises(ResumableError, match="the store failed"):
        getattr(LocalStore(tmp_path, before=before), call)("part")


def test_a_disk_that_fails_in_the_middle_of_a_file_is_one_too() -> None:
    unreadable = Path("/proc/self/mem")
    if not unreadable.exists():
        pytest.skip("this system has no /proc")
    for read in (lambda reader: reader.read(), lambda reader: reader.read(10)):
        with pytest.raises(ResumableError, match="part: the store failed"), local._Reader(unreadable, "part") as file:
            read(io.BufferedReader(file))


def test_other_faults_of_the_store_are_resumable(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a file where a folder is needed")
    with pytest.raises(ResumableError, match="the store failed"):
        LocalStore(tmp_path).create("a/b", b"x")


def test_file_system_without_links_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, target: Path) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    with pytest.raises(ConfigError, match="refuses hard links"):
        LocalStore(tmp_path).create("a", b"x")
    assert list(LocalStore(tmp_path).list("")) == []


def test_lost_answer_to_a_link_that_was_made_counts_as_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = Path.hardlink_to

    def link_and_forget(self: Path, target: Path) -> None:
        link(self, target)
        raise FileExistsError(errno.EEXIST, "File exists")

    monkeypatch.setattr(Path, "hardlink_to", link_and_forget)
    LocalStore(tmp_path).create("a", b"x")
    assert LocalStore(tmp_path).read("a") == b"x"


@given(st.text(alphabet="./\\ab\0", max_size=8))
def test_keys_never_leave_the_root(key: str) -> None:
    store = LocalStore(Path("/nowhere/run"))
    try:
        path = store.local_path(key)
    except IntegrityError:
        return
    assert path.resolve().is_relative_to("/nowhere/run")
    assert path != Path("/nowhere/run")


def test_symbolic_links_out_of_the_root_are_refused(tmp_path: Path) -> None:
    outside, root = tmp_path / "outside", tmp_path / "run"
    outside.mkdir()
    root.mkdir()
    (outside / "secret").write_text("secret")
    (root / "folder").symlink_to(outside)
    (root / "file").symlink_to(outside / "secret")
    store = LocalStore(root)
    for key in ("folder/secret", "file"):
        with pytest.raises(IntegrityError, match="symbolic link"):
            store.read(key)
    with pytest.raises(IntegrityError, match="symbolic link"):
        store.put("folder/new", b"")
    assert sorted(store.list("")) == ["file", "folder"]


def test_root_may_itself_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    open_store(tmp_path / "link").create("a", b"x")
    assert (tmp_path / "real" / "a").read_bytes() == b"x"


def test_a_torn_line_costs_no_other_line(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.append_line("log", "first")
    (tmp_path / "log").write_bytes((tmp_path / "log").read_bytes() + b'{"torn')
    store.append_line("log", "third\nwith a break")
    assert store.read("log").splitlines() == [b"first", b'{"torn', b"third with a break"]


@pytest.mark.parametrize("url", ["hdfs://host/run", "ftp://host/run", "memory://run"])
def test_stores_without_atomic_create_are_refused_by_name(url: str) -> None:
    with pytest.raises(ConfigError, match=url.split(":")[0]):
        open_store(url)


def test_nothing_is_made_before_the_first_write(tmp_path: Path) -> None:
    store = open_store(f"file://{tmp_path}/absent")
    assert store.read_if_exists("a/b") is None
    store.delete("a/b")
    assert list(store.list("")) == []
    assert not (tmp_path / "absent").exists()


def test_the_name_of_every_new_folder_is_synced_in_the_one_above_it(tmp_path: Path, monkeypatch) -> None:
    synced: set[str] = set()
    fsync = os.fsync

    def listening(descriptor: int) -> None:
        synced.add(os.readlink(f"/proc/self/fd/{descriptor}"))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", listening)
    LocalStore(tmp_path).create("a/b/c", b"x")
    assert {str(tmp_path), str(tmp_path / "a"), str(tmp_path / "a/b")} <= synced
