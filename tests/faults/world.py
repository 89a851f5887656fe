"""The smallest runs that take every step of the commit protocol, how one is driven, and what must hold in the end."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest

from rsir_scale.augmenters.rsir import augmenter
from rsir_scale.config.file import resolve
from rsir_scale.config.settings import Config
from rsir_scale.data.dataset import PreparedDataset, open_dataset
from rsir_scale.data.synthetic import synthesize
from rsir_scale.loop.local import LocalPhases
from rsir_scale.loop.recursion import Phases, run_recursion
from rsir_scale.runs import lease
from rsir_scale.runs.begun import stored_run
from rsir_scale.runs.content import digest
from rsir_scale.runs.leftovers import clean, leftovers
from rsir_scale.runs.manifest import read_chain
from rsir_scale.runs.open_run import open_run
from rsir_scale.runs.process import this_process
from rsir_scale.runs.status import read_status
from rsir_scale.storage import local
from rsir_scale.storage.base import Hook, no_hook
from rsir_scale.storage.opening import open_store
from rsir_scale.verification.verify import verify
from tests.faults.steps import nameless

POISON = 3
# Names the folder of the process that began, for those that it starts.
HOME = "RSIR_TEST_FAULTS_HOME"
SCENARIOS = ("plain", "raised", "taught")


class Clock:
    """Seconds that pass only when told."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass(frozen=True)
class Outcome:
    """What an undisturbed run left, attempts' names aside."""

    digest: str
    generations: tuple[dict[str, Any] | None, ...]
    metrics: tuple[dict[str, float], ...]
    keys: frozenset[str]


@dataclass(frozen=True)
class Scenario:
    """Commands that are given one after another on one run directory.

    Attributes:
        name: `plain`: one generation, a poisonous source, clusters; `raised`: the same by a raised loop.iterations;
            `taught`: the same with a teacher.
        commands: their settings.
    """

    name: str
    commands: tuple[Config, ...]


@cache
def folder() -> Path:
    """Where everything lies that the cells of one session share."""
    return Path(os.environ.get(HOME) or mkdtemp(prefix="rsir-test-"))


@cache
def dataset() -> PreparedDataset:
    """A planted market of 16 users and 16 items."""
    if not (folder() / "data").exists():
        synthesize(users=16, items=16, out=folder() / "data", seed=1)
    return open_dataset(folder() / "data")


@cache
def scenario(name: str) -> Scenario:
    """One of `SCENARIOS`."""
    iterations = {"plain": (1,), "raised": (0, 1), "taught": (1,)}[name]
    teacher = str(_undisturbed("plain")) + "@0" if name == "taught" else None
    return Scenario(name, tuple(_config(last, teacher) for last in iterations))


def _config(iterations: int, teacher: str | None) -> Config:
    return resolve(
        {
            "data": {"path": str(dataset().path), "max_length": 4},
            "model": {"width": 8, "feed_forward": 8, "blocks": 1, "heads": 1, "dropout": 0.1},
            "training": {"max_epochs": 2, "batch_size": 8, "negatives": 4, "learning_rate": 0.02},
            "generation": {
                "trials_per_sequence": 2,
                "shard_sources": 8,
                "batch_size": 16,
                "top_candidates": 4,
                "teacher": teacher,
            },
            "fidelity": {"rank_threshold": 6, "mode": "clustered", "clusters": 3, "nprobe": 2},
            "run": {"max_error_rate": 0.2},
            "loop": {"iterations": iterations},
        }
    )


def go(
    path: Path, config: Config, *, hook: Hook = no_hook, clock: Clock | None = None, phases: Phases | None = None
) -> None:
    """Give one command: what `rsir run` does, without Ray."""
    with open_run(open_store(path, before=hook), config, dataset(), clock=clock or Clock()) as run:
        run_recursion(run, phases or LocalPhases())


def go_all(path: Path, commands: tuple[Config, ...], **how: Any) -> None:
    """Give all commands; one that fails ends it."""
    for config in commands:
        go(path, config, **how)


@contextmanager
def small_world() -> Iterator[None]:
    """One source is poison, and nothing waits for a disk: no machine loses its power here but by a cell's own hand."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(augmenter, "decode", _poisoned(augmenter.decode))
        patched.setattr(local.os, "fsync", lambda descriptor: None)
        yield


@contextmanager
def elsewhere(host: str) -> Iterator[None]:
    """Drivers that start meanwhile are of another host, and cannot see who lives on this one."""
    process = this_process().model_copy(update={"host": host})
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(lease, "this_process", lambda: process)
        yield


@contextmanager
def ending() -> Iterator[None]:
    """Drivers that start meanwhile are of a process that has ended by the time that another one asks."""
    process = this_process().model_copy(update={"started": 1.0})
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(lease, "this_process", lambda: process)
        yield


def _poisoned(whole: Callable[..., Any]) -> Callable[..., Any]:
    def decode(backbone: Any, search: Any, sources: Any, *rest: Any, **more: Any) -> Any:
        if POISON in sources.ids:
            raise ArithmeticError("this user cannot be encoded")
        return whole(backbone, search, sources, *rest, **more)

    return decode


@cache
def _undisturbed(name: str) -> Path:
    path = folder() / name
    go_all(path, scenario(name).commands)
    return path


@cache
def golden(name: str) -> Outcome:
    """What the scenario leaves when nothing goes wrong."""
    return outcome(_undisturbed(name))


def outcome(path: Path) -> Outcome:
    """What a finished run holds."""
    store = open_store(path)
    chain, found = read_chain(store), digest(stored_run(store))
    assert found is not None
    assert read_status(store)["digest"] == found
    generations = (manifest.generation and manifest.generation.model_dump() for manifest in chain)
    keys = (nameless(key) for key in store.list("") if not key.startswith("lease/"))
    return Outcome(
        digest=found,
        generations=tuple(_without(each, "plan_sha256") for each in generations),
        metrics=tuple(manifest.metrics for manifest in chain),
        keys=frozenset(keys),
    )


def _without(values: dict[str, Any] | None, *names: str) -> dict[str, Any] | None:
    return None if values is None else {name: value for name, value in values.items() if name not in names}


def assert_nothing_lost(path: Path, name: str) -> None:
    """The golden property: digest, rows, metrics; what killed attempts left is named so, and goes by `rsir clean`."""
    store, expected = open_store(path), golden(name)
    found = outcome(path)
    assert read_status(store)["state"] == "done"
    assert (found.digest, found.generations) == (expected.digest, expected.generations)
    assert found.metrics == expected.metrics
    report = verify(stored_run(store))
    assert report.ok, report.faults
    clean(store, clock=Clock())
    assert leftovers(store) == []
    assert outcome(path) == expected, found.keys ^ expected.keys
