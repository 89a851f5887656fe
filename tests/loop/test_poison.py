"""A user who makes the generator fail costs that user's sequences and nobody else's."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from rsir_scale.augmenters.rsir import augmenter, calibration
from rsir_scale.config.file import resolve
from rsir_scale.errors import ResumableError
from rsir_scale.loop.local import LocalPhases
from rsir_scale.loop.recursion import run_recursion
from rsir_scale.runs import layout
from rsir_scale.runs.begun import stored_run
from rsir_scale.runs.commits import read_commits
from rsir_scale.runs.manifest import read_manifest
from rsir_scale.runs.open_run import open_run
from rsir_scale.runs.plan import read_plan
from rsir_scale.runs.status import read_status
from rsir_scale.storage.base import Store
from rsir_scale.storage.opening import open_store
from rsir_scale.verification.verify import verify
from tests.loop.tiny_run import tiny_run

POISON = {7, 31}


def _poisoned(poison: set[int]) -> Callable[..., Any]:
    whole = augmenter.decode

    def decode(backbone: Any, search: Any, sources: Any, *rest: Any, **more: Any) -> Any:
        if poison & set(sources.ids.tolist()):
            raise ArithmeticError("this user cannot be encoded")
        return whole(backbone, search, sources, *rest, **more)

    return decode


def _run(folder: Path, *, mode: str = "exact", **settings: float) -> Store:
    """One iteration of the tiny run, from its theta_0."""
    run = tiny_run()
    raw = run.config.model_dump()
    raw["loop"]["iterations"] = 1
    raw["fidelity"]["mode"] = mode
    raw["run"] |= settings
    model = folder / layout.folder(0) / "model"
    model.mkdir(parents=True, exist_ok=True)
    store = open_store(folder)
    with open_run(store, resolve(raw), run.dataset) as opened:
        for path in (run.path / layout.folder(0) / "model").iterdir():
            (model / path.name).write_bytes(path.read_bytes())
        run_recursion(opened, LocalPhases())
    return store


def _rows(store: Store) -> list[dict[str, Any]]:
    commits = read_commits(store, read_plan(store, 0))
    return [row for record in commits for row in pq.read_table(store.open_read(record.part.key)).to_pylist()]


def _errors(store: Store) -> list[dict[str, Any]]:
    commits = read_commits(store, read_plan(store, 0))
    kept = [record.errors for record in commits if record.errors is not None]
    return [row for entry in kept for row in pq.read_table(store.open_read(entry.key)).to_pylist()]


@pytest.fixture(autouse=True)
def _the_undisturbed_run_is_made_first() -> None:
    tiny_run()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "run"


def test_a_poisonous_user_is_set_aside_with_the_reason_and_costs_nobody_else_a_row(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(augmenter, "decode", _poisoned(POISON))
    store = _run(folder, max_error_rate=0.05)
    undisturbed = tiny_run().store
    assert _rows(store) == [row for row in _rows(undisturbed) if row["source_sequence_id"] not in POISON]
    assert _errors(store) == [
        {"source_sequence_id": source, "reason": "ArithmeticError: this user cannot be encoded"}
        for source in sorted(POISON)
    ]
    generation = read_manifest(store, 0).generation
    assert generation is not None
    counters, trials = generation.counters, tiny_run().config.generation.trials_per_sequence
    stops = sum(count for name, count in counters.items() if name.startswith("stop_"))
    assert counters["errors"] == len(POISON) * trials
    assert counters["trials"] == counters["rows_kept"] + stops + counters["errors"] == generation.sources * trials
    assert read_status(store)["iterations"][0]["errors"] == counters["errors"]
    assert verify(stored_run(store)).ok


def test_a_poisonous_user_in_the_sample_of_a_coin_costs_nobody_else_a_row(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (augmenter, calibration):
        monkeypatch.setattr(module, "decode", _poisoned(POISON))
    store = _run(folder, mode="random", max_error_rate=0.05)
    assert [row["source_sequence_id"] for row in _errors(store)] == sorted(POISON)
    assert any("1 of 25 sampled sources failed" in fact for fact in read_manifest(store, 0).facts)
    assert verify(stored_run(store)).ok


def test_too_many_of_them_stop_the_run_which_goes_on_once_the_cause_is_gone(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(augmenter, "decode", _poisoned({26, 27, 28}))
        with pytest.raises(ResumableError, match=r"above run\.max_error_rate=0\.01"):
            _run(folder)
    store = _run(folder)
    assert _rows(store) == _rows(tiny_run().store)
    assert _errors(store) == []


def test_a_higher_rate_may_be_set_on_resuming(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(augmenter, "decode", _poisoned({26, 27, 28}))
    with pytest.raises(ResumableError):
        _run(folder)
    assert len(_errors(_run(folder, max_error_rate=0.2))) == 3
