"""Whether memory stays flat over a soak whose processes are killed and started again.

Comes in: once a second the processes of a driver, with the event that the run is at. Goes out, for each kind of
process: the greatest USS (what is its own alone) and RSS of each process at an event, as medians over the processes of
the first and of the last third of the soak. `within_life` sets the last iteration that a driver lived through against
its second, at equal events: a leak of a long life would show there.
"""

import statistics
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import psutil

DRIVER, ACTOR, WORKER, ISOLATED = "driver", "actor", "train worker", "isolated child"
# An actor that has an isolated child holds less than one that decodes itself.
PARENT = "actor with a child"
_TITLES = {
    ACTOR: ("ray::MapWorker", "_ShardActor"),
    WORKER: ("ray::RayTrainWorker", "RayTrainWorker"),
    ISOLATED: ("rsir_scale.generation.isolation",),
}
# Seconds from its start until a process holds what it works with.
_SETTLED_S = 3.0
_FEWEST_SAMPLES = 3
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


def kinds_of(tree: list[psutil.Process], driver: int) -> list[tuple[str, psutil.Process]]:
    """Those of a driver's processes that are ours and not Ray's own, each with its kind."""
    kinds = [(_kind_of(process, driver), process) for process in tree]
    return [(kind, process) for kind, process in kinds if kind is not None]


def _kind_of(process: psutil.Process, driver: int) -> str | None:
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
    everybody = list(found)
    parents = {_parent(process) for kind, process in everybody if kind == ISOLATED}
    for kind, process in everybody:
        try:
            if now - process.create_time() >= _SETTLED_S:
                memory = process.memory_full_info()
                shown = PARENT if kind == ACTOR and process.pid in parents else kind
                samples.append(Sample(at_s, shown, process.pid, phase, memory.uss / _MIB, memory.rss / _MIB))
        except psutil.Error:
            continue
    return samples


def _parent(process: psutil.Process) -> int:
    try:
        return int(process.ppid())
    except psutil.Error:
        return 0


def summary(samples: list[Sample], length_s: float) -> dict[str, Any]:
    """What is told of each kind of process."""
    kinds = (DRIVER, ACTOR, PARENT, ISOLATED, WORKER)
    return {kind: _of_kind([one for one in samples if one.kind == kind], length_s) for kind in kinds}


def _of_kind(samples: list[Sample], length_s: float) -> dict[str, Any]:
    first = _peaks(one for one in samples if one.at_s < length_s / 3)
    last = _peaks(one for one in samples if one.at_s > 2 * length_s / 3)
    phases = [_compared(event, first[event], last[event]) for event in sorted(first.keys() & last.keys())]
    lives = _within_lives(samples)
    return {
        "processes": len({one.pid for one in samples}),
        "phases": phases,
        "within_life": round(statistics.median(lives), 4) if lives else None,
        "lives_of_three_iterations": len(lives),
        "median_uss_mib_by_minute": _minutes(samples),
    }


def _peaks(samples: Iterable[Sample]) -> dict[str, list[tuple[float, float]]]:
    """For each event the greatest USS and RSS of each process that was seen in it more than a moment."""
    found: dict[tuple[str, int], list[Sample]] = defaultdict(list)
    for one in samples:
        found[one.phase[0], one.pid].append(one)
    peaks: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for (event, _), group in found.items():
        if len(group) >= _FEWEST_SAMPLES:
            peaks[event].append((max(one.uss for one in group), max(one.rss for one in group)))
    return peaks


def _compared(event: str, first: list[tuple[float, float]], last: list[tuple[float, float]]) -> dict[str, Any]:
    uss, rss = ([statistics.median(peak[place] for peak in peaks) for peaks in (first, last)] for place in (0, 1))
    return {
        "at": event,
        "processes": [len(first), len(last)],
        "uss_mib": [round(value, 1) for value in uss],
        "rss_mib": [round(value, 1) for value in rss],
        "uss_last_third_of_first": round(uss[1] / uss[0], 4),
        "rss_last_third_of_first": round(rss[1] / rss[0], 4),
    }


def _within_lives(samples: list[Sample]) -> list[float]:
    """For each process that lived through an event in three iterations: USS in the last of them by that in the second.

    The first one is left aside: what a driver needs it imports then.
    """
    lives: dict[tuple[int, str], dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for one in samples:
        lives[one.pid, one.phase[0]][one.phase[1]].append(one.uss)
    several = [[found[iteration] for iteration in sorted(found)] for found in lives.values() if len(found) > 2]
    return [statistics.median(uss[-1]) / statistics.median(uss[1]) for uss in several]


def _minutes(samples: list[Sample]) -> dict[str, float]:
    minutes: dict[int, list[float]] = defaultdict(list)
    for one in samples:
        minutes[int(one.at_s // 60)].append(one.uss)
    return {str(minute): round(statistics.median(found), 1) for minute, found in sorted(minutes.items())}
