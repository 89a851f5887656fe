"""The fault matrix as data: every step x fault x process is a cell to run, or has a reason why it cannot be.

What a fault is, by process:

    exception    the step raises an error that nobody foresaw
    SIGKILL      driver: it dies at a step, its own or one that an actor or worker is at, which goes on as an orphan;
                 actor, worker: it dies, the driver starts another; node: all die, and what was not synced is gone
    disk full    at this write; node: at this and every later write of any process, until somebody frees space
    unreadable   this read fails; node: this and every later one
    truncated    the object that the step finished loses its second half while nobody runs
    clock back   the clock is set back by a year at this step
    slow store   driver, node: it is paused in the step while a driver of another host takes over and finishes the run,
                 then it goes on; actor, worker: another attempt at its phase begins and ends meanwhile
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Literal, get_args

from rsir_scale.loop.local import LocalPhases
from tests.faults.steps import Performer, Recorder, Step
from tests.faults.world import SCENARIOS, folder, go_all, scenario, small_world

Fault = Literal["exception", "SIGKILL", "disk full", "unreadable", "truncated", "clock back", "slow store"]
Process = Literal["driver", "actor", "worker", "node"]
FAULTS: tuple[Fault, ...] = get_args(Fault)
PROCESSES: tuple[Process, ...] = get_args(Process)
READS = ("read", "exists")
# Kinds whose records or lines carry a time.
TIMED = ("lease", "events")
# Objects of an attempt count once a record names them; only then has it a meaning to damage them.
NAMED_BY = {
    "training tensors": ("training state",),
    "weights": ("model",),
    "teacher weights": ("teacher",),
    "ranks": ("metrics",),
    "clusters": ("search",),
    "part": ("commit",),
    "errors": ("commit",),
    "dropped": ("generation manifest",),
}
# What real actors, Train workers and nodes of a Ray cluster add: the same faults, with Ray's own processes around them.
PROVEN_ON_RAY = {
    "an actor: SIGKILL, disk full": "tests/ray/test_pool.py",
    "a source that kills or hangs every process": "tests/ray/test_pool.py, tests/generation/test_isolation.py",
    "a Train worker: SIGKILL, disk full": "tests/ray/test_driver.py",
    "a driver: SIGKILL in training and in generation, SIGTERM, SIGINT": "tests/ray/test_stop.py",
    "a node: lost in training and in generation": "tests/ray/test_node.py",
    "a job: stopped and submitted again": "tests/ray/test_job.py",
    "a store: requests refused, delayed, cut off, lost, torn, repeated": "tests/loop/test_on_s3.py",
}


@dataclass(frozen=True, order=True)
class Cell:
    """One fault of one process at one step."""

    fault: Fault
    process: Process
    step: Step

    def __str__(self) -> str:
        return f"{self.fault}-{self.process}-at-{self.step}".replace(" ", "_")


@cache
def steps() -> tuple[Step, ...]:
    """All steps; a scenario adds those that the ones before it do not have."""
    found: dict[tuple[Performer, str, str], list[Step]] = {}
    for name in SCENARIOS:
        before = set(found)
        for step in _recorded(name):
            place = (step.performer, step.kind, step.operation)
            if place not in before:
                found.setdefault(place, []).append(step)
    return tuple(step for several in found.values() for step in several)


def _recorded(name: str) -> list[Step]:
    with small_world():
        recorder = Recorder(LocalPhases())
        go_all(folder() / f"recorded-{name}", scenario(name).commands, hook=recorder, phases=recorder)
    return recorder.steps(name)


def why_not(fault: Fault, process: Process, step: Step) -> str | None:
    """The reason why a cell cannot be, or is another one; None where it can."""
    return _RULES[fault](process, step)


@cache
def cells() -> tuple[Cell, ...]:
    """The cells that can be."""
    return tuple(
        Cell(fault, process, step)
        for fault in FAULTS
        for process in PROCESSES
        for step in steps()
        if why_not(fault, process, step) is None
    )


def impossible() -> Counter[tuple[Fault, Process, str]]:
    """How many of the others there are, by reason."""
    reasons: Counter[tuple[Fault, Process, str]] = Counter()
    for fault in FAULTS:
        for process in PROCESSES:
            for step in steps():
                why = why_not(fault, process, step)
                if why is not None:
                    reasons[fault, process, why] += 1
    return reasons


def cover() -> tuple[Cell, ...]:
    """Some cells in which each step, each fault and each process is: what the default tests run."""
    chosen: dict[Cell, None] = {}
    for number, fault in enumerate(FAULTS):
        for process in PROCESSES:
            possible = [cell for cell in cells() if (cell.fault, cell.process) == (fault, process)]
            if possible:
                chosen[possible[number * 7 % len(possible)]] = None
    kinds = sorted({step.kind for step in steps()})
    for number, kind in enumerate(kinds):
        have = {cell.step.kind for cell in chosen}
        possible = [cell for cell in cells() if cell.step.kind == kind]
        if kind not in have and possible:
            chosen[possible[number * 11 % len(possible)]] = None
    return tuple(chosen)


_NOT_ITS_OWN = "it takes no such step"
_READ = "a read changes nothing: before it is after the step before it"


def _own(process: Process, step: Step) -> str | None:
    return None if process == step.performer else _NOT_ITS_OWN


def _exception(process: Process, step: Step) -> str | None:
    return "a machine raises nothing, its processes do" if process == "node" else _own(process, step)


def _killed(process: Process, step: Step) -> str | None:
    if step.operation in READS:
        return _READ
    return None if process in ("driver", "node") else _own(process, step)


def _full(process: Process, step: Step) -> str | None:
    if not step.writes or step.operation == "create.unlink" or step.operation.endswith(".done"):
        return "it takes no room"
    return None if process == "node" else _own(process, step)


def _unreadable(process: Process, step: Step) -> str | None:
    if step.operation not in READS:
        return "it reads nothing"
    return None if process == "node" else _own(process, step)


def _truncated(process: Process, step: Step) -> str | None:
    if process != "node":
        return "a process that ends takes no bytes along: files are damaged by machines"
    if not step.operation.endswith((".done", "append_line")):
        return "the object is not finished, or was before"
    return None


def _clock(process: Process, step: Step) -> str | None:
    if process == "node":
        return "its clock is the driver's"
    if step.kind not in TIMED or not step.operation.endswith((".write", "append_line")):
        return "it reads no clock"
    return _own(process, step)


def _slow(process: Process, step: Step) -> str | None:
    if step.operation in READS:
        return _READ
    if process == "node":
        return "it is the driver's cell" if step.performer == "driver" else None
    return _own(process, step)


_RULES: dict[Fault, Callable[[Process, Step], str | None]] = {
    "exception": _exception,
    "SIGKILL": _killed,
    "disk full": _full,
    "unreadable": _unreadable,
    "truncated": _truncated,
    "clock back": _clock,
    "slow store": _slow,
}
