"""Whether memory stays flat over a soak whose processes are killed and started again.

Comes in: once a second the processes of a driver, with what the run is at. Goes out: for each kind of process its USS
(what is its own alone) and RSS at equal phases, an iteration and an event of the run, in the first and in the last
third of the soak. A process that has just started is not counted: it has not loaded what it will hold. `within_life`
sets the last iteration that a driver lived to see against the first, at equal events: a leak would show there.
"""

import statistics
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import psutil

DRIVER, ACTOR, WORKER, ISOLATED = "driver", "actor", "train worker", "isolated child"
_TITLES = {
    ACTOR: ("ray::MapWorker", "_ShardActor"),
    WORKER: ("ray::RayTrainWorker", "RayTrainWorker"),
    ISOLATED: ("rsir_scale.generation.isolation",),
}
# Seconds from its start until a process holds what it works with.
_SETTLED_S = {DRIVER: 10.0, ACTOR: 3.0, WORKER: 5.0, ISOLATED: 3.0}
_MIB = 2**20
Phase = tuple[str, int]


@dataclass(frozen=True)
class Sample:
    """One process at one moment."""

    at_s: float
    kind: str
    pid: int
    phase: Phase
    uss: float
    rss: float


def kind_of(process: psutil.Process, driver: int) -> str | None:
    """Which kind of ours it is; None for Ray's own."""
    if process.pid == driver:
        return DRIVER
    try:
        title = " ".join(process.cmdline())
    except psutil.Error:
        return None
    return next((kind for kind, names in _TITLES.items() if any(name in title for name in names)), None)


def sampled(found: Iterable[tuple[str, psutil.Process]], *, at_s: float, now: float, phase: Phase) -> list[Sample]:
    """Measure those that have settled; `now` in seconds since 1970."""
    samples = []
    for kind, process in found:
        try:
            if now - process.create_time() >= _SETTLED_S[kind]:
                memory = process.memory_full_info()
                samples.append(Sample(at_s, kind, process.pid, phase, memory.uss / _MIB, memory.rss / _MIB))
        except psutil.Error:
            continue
    return samples


def summary(samples: list[Sample], length_s: float) -> dict[str, Any]:
    """What is told of each kind of process."""
    return {kind: _of_kind([one for one in samples if one.kind == kind], length_s) for kind in (DRIVER, ACTOR, WORKER)}


def _of_kind(samples: list[Sample], length_s: float) -> dict[str, Any]:
    first = _by_phase(one for one in samples if one.at_s < length_s / 3)
    last = _by_phase(one for one in samples if one.at_s > 2 * length_s / 3)
    common = sorted(first.keys() & last.keys())
    phases = [_compared(phase, first[phase], last[phase]) for phase in common]
    # A phase counts by how often it was seen at both ends.
    ratios = [found["uss_ratio"] for found in phases for _ in range(min(found["samples"]))]
    resident = [found["rss_ratio"] for found in phases for _ in range(min(found["samples"]))]
    lives = within_lives(samples)
    return {
        "samples": len(samples),
        "processes": len({one.pid for one in samples}),
        "uss_last_third_of_first": round(statistics.median(ratios), 4) if ratios else None,
        "rss_last_third_of_first": round(statistics.median(resident), 4) if resident else None,
        "within_life": round(statistics.median(lives), 4) if lives else None,
        "lives_of_several_iterations": len(lives),
        "phases": phases,
        "minutes_uss_mib": _minutes(samples),
    }


def _by_phase(samples: Iterable[Sample]) -> dict[Phase, list[Sample]]:
    found: dict[Phase, list[Sample]] = defaultdict(list)
    for one in samples:
        found[one.phase].append(one)
    return {phase: group for phase, group in found.items() if len(group) >= 3}


def _compared(phase: Phase, first: list[Sample], last: list[Sample]) -> dict[str, Any]:
    uss = [statistics.median(one.uss for one in group) for group in (first, last)]
    rss = [statistics.median(one.rss for one in group) for group in (first, last)]
    return {
        "phase": f"{phase[0]} {phase[1]}",
        "samples": [len(first), len(last)],
        "uss_mib": [round(value, 1) for value in uss],
        "rss_mib": [round(value, 1) for value in rss],
        "uss_ratio": round(uss[1] / uss[0], 4),
        "rss_ratio": round(rss[1] / rss[0], 4),
    }


def within_lives(samples: list[Sample]) -> list[float]:
    """For each process that lived through an event in two iterations or more: USS in the last one of the first."""
    lives: dict[tuple[int, str], dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for one in samples:
        lives[one.pid, one.phase[0]][one.phase[1]].append(one.uss)
    several = [sorted(found.items()) for found in lives.values() if len(found) > 1]
    return [statistics.median(found[-1][1]) / statistics.median(found[0][1]) for found in several]


def _minutes(samples: list[Sample]) -> dict[str, float]:
    minutes: dict[int, list[float]] = defaultdict(list)
    for one in samples:
        minutes[int(one.at_s // 60)].append(one.uss)
    return {str(minute): round(statistics.median(found), 1) for minute, found in sorted(minutes.items())}
