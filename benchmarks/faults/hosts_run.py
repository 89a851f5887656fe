"""One run of the real command on a `HostCluster` that loses hosts on the way.

Comes in: a cluster, the store of a new run, the command, and what is to be lost: (phase, how), in order. Goes out: exit
codes of the commands it took, and for each loss where and when, what the host held, what share of the phase was left,
and how long it then stood still. A host is lost when something of the first iteration's phase is saved, at least a
quarter of it is to do, and a Train worker, or an actor of generation, is among the host's processes. Exit code 3 is
answered by the same command.
"""

import json
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.faults.hosts import Host
from benchmarks.faults.hosts_cluster import HostCluster
from benchmarks.faults.soak_memory import ACTOR, WORKER
from benchmarks.record.result_file import Row
from rsir_scale.errors import ResumableError
from rsir_scale.runs import layout
from rsir_scale.runs.commits import missing_shards
from rsir_scale.runs.plan import read_plan
from rsir_scale.storage.base import Store

TRAINING, GENERATION = "training", "generation"
KILL, CUT = "killed", "cut off"
Loss = tuple[str, str]
_KINDS = {TRAINING: WORKER, GENERATION: ACTOR}
_LOOK_S = 0.2
_BACK_AFTER_S = 20.0
_LATE_S = 10.0
_HANGS_S = 1800.0
_MOST_COMMANDS = 5
_LEAST_LEFT = 0.25


class NotAsMeantError(Exception):
    """A host was not lost when and where it should have been, or the run hangs."""


@dataclass
class Lost:
    """A host that is away; `row` is told."""

    host: Host
    row: Row
    progress: Any = None
    since: float = 0.0
    back: "Future[None] | None" = None


@dataclass
class HostsRun:
    """See the module."""

    cluster: HostCluster
    store: Store
    command: list[str]
    losses: list[Loss]
    log: Path
    codes: list[int] = field(default_factory=list)
    lost: list[Lost] = field(default_factory=list)
    _began: float = field(default_factory=time.monotonic)
    _threads: ThreadPoolExecutor = field(default_factory=ThreadPoolExecutor)

    @property
    def now(self) -> float:
        """Seconds of the run."""
        return time.monotonic() - self._began

    def finish(self) -> float:
        """Bring the run to its end, or to one that resumes nothing; returns its seconds."""
        while (not self.codes or self.codes[-1] == ResumableError.exit_code) and len(self.codes) < _MOST_COMMANDS:
            self.codes.append(self._driven())
        seconds = self.now
        if self.losses:
            raise NotAsMeantError(f"the run ended before a host was {self.losses[0][1]} in {self.losses[0][0]}")
        return seconds

    def settle(self) -> None:
        """Plug those in again that were cut off, so that they write what they still have."""
        late = [lost.host for lost in self.lost if lost.row["how"] == CUT]
        for host in late:
            host.mend()
        time.sleep(_LATE_S if late else 0)

    def bring_back(self) -> None:
        """Have whoever is still away in the cluster again."""
        for lost in self.lost:
            lost.back = lost.back or self._threads.submit(self._rejoin, lost.host, 0.0)
            lost.back.result()
        self._threads.shutdown()

    def _rejoin(self, host: Host, after_s: float) -> None:
        time.sleep(after_s)
        host.off()
        self.cluster.bring(host.number)

    def _driven(self) -> int:
        environment = self.cluster.environment | {"RAY_ADDRESS": self.cluster.address}
        with self.log.open("a") as log:
            driver = self.cluster.head.popen(self.command, environment, stdout=log, stderr=log)
        try:
            while (code := driver.poll()) is None:
                if self.now > _HANGS_S:
                    raise NotAsMeantError("the run hangs")
                self._look()
                time.sleep(_LOOK_S)
            return code
        finally:
            driver.kill()
            driver.wait()

    def _look(self) -> None:
        if self.lost:
            self._watch(self.lost[-1])
        everybody_there = all(lost.back is not None and lost.back.done() for lost in self.lost)
        if self.losses and everybody_there and _is_at(self.store, self.losses[0][0]):
            phase, how = self.losses[0]
            holders = [number for number in self.cluster.holders(_KINDS[phase]) if number]
            if holders:
                self._lose(holders[-1], phase, how)

    def _lose(self, number: int, phase: str, how: str) -> None:
        host = self.cluster.lose(number)
        host.kill() if how == KILL else host.cut()
        left = _left(self.store, phase)
        if left < _LEAST_LEFT:
            raise NotAsMeantError(f"{1 - left:.0%} of {phase} was done when {host.name} was lost: give it more to do")
        row = {"phase": phase, "how": how, "host": host.name, "held": _KINDS[phase], "at_s": round(self.now, 1)}
        row["left"] = round(left, 2)
        print(row, flush=True)
        self.lost.append(Lost(host, row | {"stood_still_s": 0.0}, since=self.now))
        self.losses.pop(0)
        if self.losses:
            self.lost[-1].back = self._threads.submit(self._rejoin, host, _BACK_AFTER_S)

    def _watch(self, lost: Lost) -> None:
        """Note the longest time without progress, until the phase that was disturbed is done."""
        if lost.progress == 0:
            return
        found = _progress(self.store, lost.row["phase"])
        lost.row["stood_still_s"] = max(lost.row["stood_still_s"], round(self.now - lost.since, 1))
        if found != lost.progress:
            lost.progress, lost.since = found, self.now


def _is_at(store: Store, phase: str) -> bool:
    """Whether something of the phase is saved."""
    if phase == TRAINING:
        return store.exists(layout.fit_state(layout.training(0)))
    # Actors take shards of equal size in order.
    return any(store.exists(layout.commit(0, shard)) for shard in range(2))


def _left(store: Store, phase: str) -> float:
    """The share of the phase that is still to do, as far as was told; 0 when it is done."""
    if phase == TRAINING:
        if store.exists(layout.model(0)):
            return 0.0
        told = json.loads(
            store.read_if_exists(layout.fit_progress(layout.training(0))) or b'{"update": 0, "maximum": 1}'
        )
        return 1.0 - float(told["update"]) / float(told["maximum"])
    plan = read_plan(store, 0)
    return len(missing_shards(store, plan)) / len(plan.shards)


def _progress(store: Store, phase: str) -> Any:
    """What changes as the phase goes on; 0 when it is done."""
    if phase == TRAINING:
        return 0 if store.exists(layout.model(0)) else store.read_if_exists(layout.fit_state(layout.training(0)))
    return len(missing_shards(store, read_plan(store, 0)))
