"""What lost attempts left goes, what any record names stays, and a run under a driver is not touched."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from rsir_scale.errors import InputError, IntegrityError, LeaseHeldError
from rsir_scale.runs import layout
from rsir_scale.runs.layout import Kind
from rsir_scale.runs.lease import Lease
from rsir_scale.runs.leftovers import _DECIDED_BY, clean, leftovers
from rsir_scale.storage.opening import open_store
from rsir_scale.verification.verify import verify
from tests.loop.tiny_run import TinyRun, tiny_run

ATTEMPT = "0123456789ab"
LEFT = {
    layout.part(0, 0, ATTEMPT): b"half a par",
    layout.weights(1, ATTEMPT, 0): b"weights of a worker that was killed",
    layout.fit_tensors(layout.training(2), ATTEMPT, 3): b"",
    layout.ranks(0, ATTEMPT): b"x",
    f"iteration=000/.tmp-{'0f' * 16}": b"torn",
}
FOREIGN = {
    "notes.txt": b"mine",
    "notes.json": b"{} {}",
    "iteration=000/figure.parquet": b"mine too",
    "model.safetensors": b"and this",
    "iteration=000/training/curve.png": b"mine as well",
    # Names that are nearly those of a lost attempt's objects.
    f"iteration=000/ranks.mine.{ATTEMPT}.parquet": b"of a study",
    f"iteration=000/ranks.{ATTEMPT}.csv": b"",
    f"iteration=000/ranks.{ATTEMPT.upper()}.parquet": b"",
    f"iteration=0000/ranks.{ATTEMPT}.parquet": b"",
    f"iteration=000/model/weights-best.{ATTEMPT}.safetensors": b"",
    f"iteration=000/generation/data/part-00000.{ATTEMPT}.parquet.bak": b"",
    f"iteration=000/generation/data/part-0.{ATTEMPT}.parquet": b"",
    f"copy/iteration=000/ranks.{ATTEMPT}.parquet": b"",
    f"iteration=000/training/state-00000.{ATTEMPT}.parquet": b"",
}


@pytest.fixture
def littered(tmp_path: Path) -> TinyRun:
    run = tiny_run().copy_to(tmp_path / "run")
    for key, data in {**LEFT, **FOREIGN}.items():
        path = run.path / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return run


def _files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _without_leases(files: dict[str, bytes]) -> dict[str, bytes]:
    return {key: data for key, data in files.items() if not key.startswith("lease/")}


def test_a_finished_run_has_no_leftovers() -> None:
    assert leftovers(tiny_run().store) == []


def test_what_no_record_names_goes_and_all_else_stays(littered: TinyRun) -> None:
    before = _without_leases(_files(littered.path))
    told = clean(littered.store)
    assert told == {
        "removed": True,
        "objects": len(LEFT),
        "bytes": sum(map(len, LEFT.values())),
        "keys": sorted(LEFT),
    }
    assert _without_leases(_files(littered.path)) == {key: data for key, data in before.items() if key not in LEFT}
    assert verify(littered).ok
    assert clean(littered.store)["objects"] == 0


def test_a_dry_run_says_the_same_and_writes_nothing(littered: TinyRun) -> None:
    before = _files(littered.path)
    told = clean(littered.store, dry_run=True)
    assert (told["removed"], told["keys"]) == (False, sorted(LEFT))
    assert _files(littered.path) == before


@pytest.mark.parametrize(
    "record",
    [
        layout.model_link(1),
        layout.generation_link(1),
        layout.commit(0, 0),
        layout.model(2),
        layout.metrics(0),
        layout.plan(1),
    ],
)
def test_what_any_record_names_stays_though_no_manifest_does(littered: TinyRun, record: str) -> None:
    # As in an iteration under way: the record is all that speaks for the object.
    for iteration in range(3):
        for key in (layout.model_link(iteration), layout.generation_link(iteration)):
            if key != record:
                littered.store.delete(key)
    told = clean(littered.store, dry_run=True)
    text = littered.store.read(record).decode()
    assert not any(key in text for key in told["keys"])


@pytest.mark.parametrize(
    ("record", "undecided"),
    [
        (layout.commit(0, 0), layout.part(0, 0, ATTEMPT)),
        (layout.commit(0, 0), layout.errors(0, 0, ATTEMPT)),
        (layout.model(1), layout.weights(1, ATTEMPT, 0)),
        (layout.model(2), layout.fit_tensors(layout.training(2), ATTEMPT, 3)),
        (layout.learned(1), layout.learned_weights(1, ATTEMPT, 0)),
        (layout.learned(1), layout.fit_tensors(layout.learning(1), ATTEMPT, 2)),
        (layout.metrics(0), layout.ranks(0, ATTEMPT)),
        (layout.search(0), layout.clusters(0, ATTEMPT)),
        (layout.prepared(0), layout.prepared_table(0, ATTEMPT)),
        (layout.learned(0), layout.learned_weights(0, ATTEMPT, 1)),
        (layout.TEACHER, layout.teacher_weights(ATTEMPT, 0)),
        (layout.generation_link(1), layout.dropped(1, ATTEMPT)),
        (layout.generation_link(1), layout.replaced(1, ATTEMPT)),
    ],
)
def test_what_an_attempt_that_nobody_sees_may_yet_commit_stays(littered: TinyRun, record: str, undecided: str) -> None:
    littered.store.put(undecided, b"of an attempt")
    if not littered.store.exists(record):
        littered.store.put(record, b"{}")
    assert undecided in leftovers(littered.store)
    littered.store.delete(record)
    assert undecided not in leftovers(littered.store)


def test_what_decides_is_known_of_every_kind_that_an_attempt_writes() -> None:
    of_attempts = {kind for kind in Kind if "{attempt}" in kind.value}
    assert of_attempts == {*_DECIDED_BY, Kind.FIT_TENSORS}


def test_the_state_of_a_training_goes_once_its_model_is_there(littered: TinyRun) -> None:
    tensors = layout.fit_tensors(layout.training(1), ATTEMPT, 0)
    state = {
        layout.fit_state(layout.training(1)): json.dumps([tensors]).encode(),
        tensors: b"t",
        layout.fit_progress(layout.training(1)): b"",
    }
    for key, data in state.items():
        littered.store.put(key, data)
    assert set(state) <= set(clean(littered.store)["keys"])


def test_a_run_that_a_driver_holds_is_left_alone(littered: TinyRun) -> None:
    before = _without_leases(_files(littered.path))
    with Lease(littered.store), pytest.raises(LeaseHeldError):
        clean(littered.store)
    assert _without_leases(_files(littered.path)) == before


@pytest.mark.parametrize("tear", [lambda data: data[: len(data) // 2], lambda data: b"\xff" + data])
def test_a_damaged_record_stops_it_before_anything_is_removed(
    littered: TinyRun, tear: Callable[[bytes], bytes]
) -> None:
    path = littered.path / layout.model(0)
    path.write_bytes(tear(path.read_bytes()))
    before = _without_leases(_files(littered.path))
    with pytest.raises(IntegrityError, match=r"model\.json is no JSON .*nothing was removed"):
        clean(littered.store)
    assert _without_leases(_files(littered.path)) == before


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    (tmp_path / f"part.{ATTEMPT}.parquet").write_bytes(b"somebody's")
    with pytest.raises(InputError, match="is no run"):
        clean(open_store(tmp_path))
    assert len(list(tmp_path.iterdir())) == 1
