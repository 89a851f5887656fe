"""A saved state comes back bit for bit; killed at any step of saving the next one, the store holds one of the two."""

import errno
from pathlib import Path

import pytest
import torch

from rsir_scale.errors import IntegrityError, StorageFullError
from rsir_scale.runs import layout
from rsir_scale.storage.local import LocalStore
from rsir_scale.storage.opening import open_store
from rsir_scale.training.state import FitState, StateFiles
from rsir_scale.training.worker import Worker
from tests.training.market import MODEL, begun, copied, fit, task

SMALL = 1 << 13
FOLDER = layout.training(0)


class Killed(BaseException):
    """The process ends here."""


def _states() -> list[FitState]:
    """The states after the first and the second interval of a fit."""
    states: list[FitState] = []
    fit(task(max_epochs=2), Worker(), save_state=lambda state: states.append(copied(state)))
    return states


def _same(one: FitState | None, other: FitState) -> bool:
    return (
        one is not None
        and one.position == other.position
        and one.tensors.keys() == other.tensors.keys()
        and all(torch.equal(one.tensors[name], tensor) for name, tensor in other.tensors.items())
    )


@pytest.mark.parametrize("shard_bytes", [SMALL, 1 << 28])
def test_a_state_comes_back_and_replaces_the_last_one(tmp_path: Path, shard_bytes: int) -> None:
    store = open_store(tmp_path)
    files = StateFiles(store, FOLDER, shard_bytes=shard_bytes)
    assert files.read() is None
    for state in _states():
        files.write(state)
        assert _same(files.read(), state)
        parts = [key for key in store.list(FOLDER) if key.endswith(".safetensors")]
        assert len({key.split(".")[-2] for key in parts}) == 1
    files.delete()
    assert list(store.list(FOLDER)) == []


def test_a_state_of_a_class_that_was_changed_meanwhile_is_refused_and_names_what_differs() -> None:
    (state, _), other = _states(), task(MODEL.model_copy(update={"blocks": 2}))
    with pytest.raises(IntegrityError, match=r"another SASRec: \d+ tensors differ, 'blocks\.1\..* put the class back"):
        begun(other, Worker(), resume_from=state)


def test_a_crash_at_any_step_leaves_the_old_state_or_the_new_one_and_the_end_clears_up(tmp_path: Path) -> None:
    old, new = _states()
    steps: list[tuple[str, str]] = []
    store = LocalStore(tmp_path / "whole", before=lambda *step: steps.append(step))
    StateFiles(store, FOLDER, shard_bytes=1 << 15).write(old)
    begin = len(steps)
    StateFiles(store, FOLDER, shard_bytes=1 << 15).write(new)
    total = len(steps) - begin
    found = []
    for stop in range(total):
        folder = tmp_path / f"stop-{stop}"
        StateFiles(open_store(folder), FOLDER, shard_bytes=1 << 15).write(old)
        left = [stop]

        def before(step: str, key: str, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise Killed

        with pytest.raises(Killed):
            StateFiles(LocalStore(folder, before=before), FOLDER, shard_bytes=1 << 15).write(new)
        files = StateFiles(open_store(folder), FOLDER, shard_bytes=1 << 15)
        state = files.read()
        assert _same(state, old) or _same(state, new)
        found.append(_same(state, new))
        files.write(new)
        assert _same(files.read(), new)
        files.delete()
        assert list(open_store(folder).list(layout.training(0))) == []
    # Once the new one counts, it does at every later step.
    assert found == sorted(found)
    assert {False, True} == set(found)


def test_two_that_save_beside_each_other_leave_a_whole_state_whatever_their_order(tmp_path: Path) -> None:
    first, second = _states()
    steps: list[str] = []
    StateFiles(LocalStore(tmp_path / "whole", before=lambda step, key: steps.append(step)), FOLDER).write(first)
    for moment in range(len(steps)):
        folder = tmp_path / f"moment-{moment}"
        files = StateFiles(open_store(folder), FOLDER, shard_bytes=1 << 15)
        files.write(first)
        left = [moment]

        def before(step: str, key: str, left: list[int] = left, files: StateFiles = files) -> None:
            left[0] -= 1
            if left[0] == -1:
                files.write(second)

        StateFiles(LocalStore(folder, before=before), FOLDER, shard_bytes=1 << 15).write(first)
        found = files.read()
        assert _same(found, first) or _same(found, second)


def test_a_state_that_is_replaced_while_it_is_read_is_read_anew(tmp_path: Path) -> None:
    first, second = _states()
    files = StateFiles(open_store(tmp_path), FOLDER, shard_bytes=SMALL)
    files.write(first)
    begun: list[str] = []

    def before(step: str, key: str) -> None:
        begun.append(key)
        if len(begun) == 4:
            files.write(second)

    assert _same(StateFiles(LocalStore(tmp_path, before=before), FOLDER).read(), second)
    store = open_store(tmp_path)
    store.delete(next(key for key in store.list(FOLDER) if "state-00003" in key))
    with pytest.raises(IntegrityError, match="state-00003"):
        files.read()


def test_a_full_disk_keeps_nothing_of_the_state_that_it_had_no_room_for(tmp_path: Path) -> None:
    first, second = _states()
    StateFiles(open_store(tmp_path), FOLDER, shard_bytes=SMALL).write(first)
    kept = sorted(open_store(tmp_path).list(""))

    def before(step: str, key: str) -> None:
        if step == "put_new.write" and "state-00003" in key:
            raise OSError(errno.ENOSPC, "full")

    with pytest.raises(StorageFullError):
        StateFiles(LocalStore(tmp_path, before=before), FOLDER, shard_bytes=SMALL).write(second)
    assert sorted(open_store(tmp_path).list("")) == kept


def test_a_damaged_part_of_a_state_is_named(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    files = StateFiles(store, FOLDER, shard_bytes=SMALL)
    files.write(_states()[0])
    key = next(key for key in store.list(FOLDER) if "state-00003" in key)
    data = bytearray(store.read(key))
    data[-1] ^= 1
    store.put(key, bytes(data))
    with pytest.raises(IntegrityError, match="state-00003"):
        files.read()


@pytest.mark.parametrize("damage", [b"", b'{"best_', b"[]", b'{"tensors": []}', b'{"update": -3, "tensors": []}'])
def test_a_state_whose_record_is_damaged_is_replaced_by_the_next_one(tmp_path: Path, damage: bytes) -> None:
    store, (first, second) = open_store(tmp_path), _states()
    files = StateFiles(store, FOLDER, shard_bytes=SMALL)
    files.write(first)
    store.put(layout.fit_state(FOLDER), damage)
    with pytest.raises(IntegrityError):
        files.read()
    files.write(second)
    assert _same(files.read(), second)
    files.delete()
    assert list(store.list(FOLDER)) == []


def test_what_other_files_of_the_training_hold_is_left_alone(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.put(layout.fit_progress(FOLDER), b"{}")
    running = begun(task(), Worker())
    files = StateFiles(store, FOLDER)
    files.write(running.state())
    files.delete()
    assert list(store.list(FOLDER)) == [layout.fit_progress(FOLDER)]
