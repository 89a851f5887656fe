"""A child process writes the same bits, and one that dies or hangs costs the sources that it did so on."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from rsir_scale.augmenters.quarantine import survive
from rsir_scale.augmenters.written import Written
from rsir_scale.config.file import resolve
from rsir_scale.errors import InputError, IntegrityError
from rsir_scale.generation import isolation
from rsir_scale.generation.isolation import IsolatedWriter, LostProcessError, Where, narrowing_s
from rsir_scale.generation.shard import open_writer
from rsir_scale.runs import layout
from tests.generation.fragile import FAULT, FOLDER, NAME, rarest_first_item
from tests.loop.tiny_run import TinyRun, tiny_run


@pytest.fixture(scope="module")
def run() -> TinyRun:
    return tiny_run(model=(("backbone", NAME),))


@pytest.fixture
def order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that tells the backbone what to do wrong."""
    monkeypatch.setenv(FOLDER, str(tmp_path))
    return tmp_path / FAULT


@pytest.fixture
def writers(run: TinyRun) -> Iterator[list[IsolatedWriter]]:
    """Those that a test opens, ended with it."""
    opened: list[IsolatedWriter] = []
    yield opened
    for writer in opened:
        writer.close()


def _open(run: TinyRun, *, shard_s: float = 60.0) -> IsolatedWriter:
    where = Where(str(run.path), run.dataset.path, 0, "cpu")
    return IsolatedWriter(where, shard_s=shard_s, shard_sources=100)


def _same(one: Written, other: Written) -> bool:
    return all(_equal(getattr(one, field.name), getattr(other, field.name)) for field in fields(Written))


def _equal(one: object, other: object) -> bool:
    if isinstance(one, np.ndarray):
        return np.array_equal(one, np.asarray(other))
    return bool(one == other)


def test_a_child_writes_what_this_process_writes(run: TinyRun, writers: list[IsolatedWriter]) -> None:
    writers.append(_open(run))
    here, sources = open_writer(run, 0), run.dataset.training_sequences()
    for some in (sources, sources.select(np.arange(3, 9))):
        there = writers[0](some)
        assert _same(there, here(some))
        assert len(there)
        assert (there.encoder, there.search.split("/")[0]) == ("uncached/torch", "exact")
        assert there.counters["steps"] > 0


REASONS = {
    "nan": "RuntimeError: ArithmeticError: a query vector is not finite: the model is damaged or diverged; train it "
    "again",
    "kill": "LostProcessError: the process that wrote from it was killed by SIGKILL",
    "hang": "LostProcessError: it took more than 2 s and was stopped",
    "raise": "RuntimeError: ArithmeticError: {item} cannot be encoded",
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", REASONS)
def test_sources_that_kill_hang_or_raise_are_found_and_the_others_are_written_from(
    run: TinyRun, writers: list[IsolatedWriter], order: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    sources = run.dataset.training_sequences()
    item, here = rarest_first_item(sources), open_writer(run, 0)
    monkeypatch.setattr(isolation, "_LEAST_S", 2.0)
    order.write_text(f"{'nan' if kind == 'nan' else 'raise'}:{item}")
    expected = survive(lambda rows: here(sources.select(rows)), len(sources), max_rate=1.0)
    order.write_text(f"{kind}:{item}")
    writers.append(_open(run, shard_s=1e10 if kind != "hang" else 3.0))
    survived = survive(lambda rows: writers[0](sources.select(rows)), len(sources), max_rate=1.0)
    assert survived.failed == dict.fromkeys(expected.failed, REASONS[kind].format(item=item))
    assert _same(survived.result, expected.result)


@pytest.mark.slow
def test_a_child_that_cannot_open_the_run_is_replaced_once_it_can(
    run: TinyRun, writers: list[IsolatedWriter], monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = run.dataset.training_sequences()
    writers.append(_open(run))
    writers[0].close()
    with monkeypatch.context() as patch:
        patch.setattr(writers[0], "_where", Where(str(run.path / "away"), run.dataset.path, 0, "cpu"))
        with pytest.raises(InputError, match="no run"):
            writers[0](sources)
    assert _same(writers[0](sources), open_writer(run, 0)(sources))


@pytest.mark.parametrize("shard_s", [1.0, 600.0, 3600.0])
@pytest.mark.parametrize("hanging", [1, 20, 41])
def test_no_hunt_for_sources_that_hang_takes_longer_than_is_waited_for(shard_s: float, hanging: int) -> None:
    count, seconds = 4096, 0.0
    where = set(np.linspace(0, count - 1, hanging).astype(int).tolist())

    def work(rows: npt.NDArray[np.int64]) -> None:
        nonlocal seconds
        # Whatever does not hang takes all the time that it may.
        seconds += max(isolation._LEAST_S, shard_s * len(rows) / count)
        if where & set(rows.tolist()):
            raise LostProcessError

    survive(work, count, max_rate=0.01)
    config = resolve({"data": {"path": "x"}, "run": {"shard_timeout_s": shard_s, "max_error_rate": 0.01}})
    assert config.generation.shard_sources == count
    assert seconds <= narrowing_s(config)


def test_a_child_that_dies_is_replaced(run: TinyRun, writers: list[IsolatedWriter], order: Path) -> None:
    sources = run.dataset.training_sequences()
    item = rarest_first_item(sources)
    firsts = np.array([int(sources.row(row)[0]) for row in range(len(sources))])
    poison, sound = (
        sources.select(np.flatnonzero(firsts == item)[:1]),
        sources.select(np.flatnonzero(firsts != item)[:1]),
    )
    order.write_text(f"kill:{item}")
    writers.append(_open(run))
    with pytest.raises(LostProcessError, match="killed by SIGKILL"):
        writers[0](poison)
    order.unlink()
    assert _same(writers[0](sound), open_writer(run, 0)(sound))


def test_an_error_of_ours_in_the_child_is_the_same_error_here(run: TinyRun, tmp_path: Path) -> None:
    damaged = run.copy_to(tmp_path / "run")
    (damaged.path / layout.model(0)).write_bytes(b"{}")
    with pytest.raises(IntegrityError, match=r"model\.json"):
        _open(damaged)


def test_a_closed_writer_leaves_no_process_behind(run: TinyRun) -> None:
    writer = _open(run)
    child = writer._child
    assert child is not None
    writer.close()
    with pytest.raises(ProcessLookupError):
        os.kill(child.pid, 0)


def test_a_child_ends_with_the_process_that_asked_for_it() -> None:
    code = "import sys; from rsir_scale.generation import isolation; isolation._end_with(int(sys.argv[1]))"
    command = f"[sys.executable, '-c', {code!r}, str(os.getpid())], stdout=subprocess.DEVNULL"
    asked = f"import os, subprocess, sys; print(subprocess.Popen({command}).pid)"
    told = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    orphan, until = Path(f"/proc/{told.stdout.strip()}"), time.monotonic() + 60
    while orphan.exists() and time.monotonic() < until:
        time.sleep(0.1)
    assert not orphan.exists()
