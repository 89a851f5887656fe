"""A soak: the real command, again and again, while its processes are killed at random. What is lost, doubled, leaked?

    python -m benchmarks.faults.soak --minutes 20 --kills 40 --run-dir runs/soak --json docs/results/soak.json

The market is small; a run has a few iterations of some tens of seconds on two actors and a Train worker, by `rsir run`
with a Ray cluster of its own. Every `--gap` seconds a kind of process is drawn, the driver, an actor of generation, a
Train worker, or the child process that decodes in an actor's stead after a loss; the next of that kind that shows up is
killed (SIGKILL). When the driver ends before the run does, the same command is given again. A run that is done is held
to a run that nobody disturbed: rows by id, digest, `rsir verify`; then the next begins. The last run is brought to its
end without kills. Whatever is amiss ends the soak and leaves the folder as it is. Memory: see
`soak_memory`. Where other work has the cores as well, set RAY_worker_niceness=0: at Ray's own its workers would starve.
"""

import argparse
import json
import shutil
import signal
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks.faults.small_run import ENDS, SmallRun, command, command_environment, compare, is_golden, small_run
from benchmarks.faults.soak_memory import ACTOR, DRIVER, ISOLATED, WORKER, Phase, Sample, kinds_of, sampled, summary
from benchmarks.record.result_file import Row, write_rows
from rsir_scale.runs.events import read_events
from rsir_scale.storage.opening import open_store

SETTINGS: dict[str, dict[str, object]] = {
    "data": {"max_length": 20},
    "model": {"width": 32, "feed_forward": 64, "dropout": 0.1},
    "training": {"batch_size": 128, "max_epochs": 10, "patience": 10},
    "generation": {"shard_sources": 60, "trials_per_sequence": 4, "sources": "real", "actors": 2},
    "loop": {"iterations": 4},
}
# A driver that lives through several iterations shows whether it leaks: it is drawn half as often.
_KINDS = (DRIVER, ACTOR, ACTOR, WORKER, WORKER, ISOLATED)
_TICK_S = 0.5
_SAMPLE_S = 1.0
_SHOWS_UP_S = 90.0
# A process that shows up works for up to so long before it is killed.
_WORKS_S = 5.0


class Killer:
    """Draws whom to kill next, and when; kills whoever of that kind shows up first."""

    def __init__(self, seed: int, gap: tuple[float, float]) -> None:
        self._draws = np.random.default_rng(seed)
        self._gap = gap
        self.kills: Counter[str] = Counter()
        self._wanted, self._at, self._until, self._broke = DRIVER, 0.0, 0.0, False
        self._due: float | None = None
        self._rest(0.0)

    def step(self, now: float, found: list[tuple[str, psutil.Process]]) -> None:
        """Kill, if it is time and one is there; `now` in seconds of the soak."""
        if now < self._at:
            return
        # An isolated child is there only after an actor was lost.
        wanted = self._wanted
        if wanted == ISOLATED and all(kind != ISOLATED for kind, _ in found) and not self._broke:
            wanted = ACTOR
        there = [process for kind, process in found if kind == wanted]
        if not there:
            if now > self._until:
                self._rest(now)
            return
        if self._due is None:
            self._due = now + float(self._draws.uniform(0, _WORKS_S))
        if now < self._due:
            return
        victim = there[int(self._draws.integers(len(there)))]
        with suppress(psutil.Error):
            victim.send_signal(signal.SIGKILL)
            self.kills[wanted] += 1
            print(f"{now:7.1f} s  killed {wanted} {victim.pid}", flush=True)
        if self._wanted == ISOLATED and wanted == ACTOR:
            self._broke, self._due = True, None
            self._until = now + _SHOWS_UP_S
            return
        self._rest(now)

    def _rest(self, now: float) -> None:
        self._wanted = _KINDS[int(self._draws.integers(len(_KINDS)))]
        self._broke, self._due = False, None
        self._at = now + float(self._draws.uniform(*self._gap))
        self._until = self._at + _SHOWS_UP_S


@dataclass
class Soak:
    """One soak under way."""

    small: SmallRun
    folder: Path
    killer: Killer
    began: float = field(default_factory=time.monotonic)
    samples: list[Sample] = field(default_factory=list)
    runs: list[Row] = field(default_factory=list)
    starts: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    outlived: dict[str, float] = field(default_factory=dict)
    _driver: psutil.Popen | None = None
    _lost: dict[psutil.Process, float] = field(default_factory=dict)
    _sampled: float = 0.0

    @property
    def now(self) -> float:
        """Seconds of the soak."""
        return time.monotonic() - self.began

    @property
    def run_dir(self) -> Path:
        """The run under way."""
        return self.folder / f"run-{len(self.runs):03d}"

    def is_short_of(self, wanted: argparse.Namespace) -> bool:
        """Whether it has not lasted long enough, or killed too few."""
        return bool(self.now < 60 * wanted.minutes or self.killer.kills.total() < wanted.kills)

    def tick(self, *, kills: bool) -> None:
        """Begin or take up the run, look at its processes, and kill one if it is time."""
        if self._driver is None:
            self._start()
            return
        code = self._driver.poll()
        if code is not None:
            self._ended(code)
            return
        found = self._processes()
        self._look_at_orphans()
        if self.now - self._sampled >= _SAMPLE_S:
            self._sampled = self.now
            self.samples += sampled(found, at_s=self.now, now=time.time(), phase=_phase(self.run_dir))
        if kills:
            self.killer.step(self.now, found)

    def close(self) -> None:
        """End what runs."""
        if self._driver is not None:
            self._driver.terminate()
            with suppress(psutil.TimeoutExpired):
                self._driver.wait(timeout=60)
            self._driver.kill()

    def _start(self) -> None:
        self.starts += 1
        with (self.folder / "driver.log").open("a") as log:
            self._driver = psutil.Popen(
                command(self.small, str(self.run_dir)),
                stdout=log,
                stderr=log,
                env=command_environment(),
            )

    def _ended(self, code: int) -> None:
        self._driver = None
        self.ends[ENDS.get(code, f"exit code {code}")] += 1
        if code not in ENDS:
            self.faults.append(f"{self.run_dir.name}: the driver ended with exit code {code}")
        if code == 0:
            row = {"run": self.run_dir.name, "done_at_s": round(self.now, 1)} | compare(self.small, str(self.run_dir))
            if not is_golden(row):
                self.faults.append(f"{self.run_dir.name} is not the golden run")
            print(json.dumps(row), flush=True)
            self.runs.append(row)

    def _processes(self) -> list[tuple[str, psutil.Process]]:
        assert self._driver is not None  # noqa: S101
        driver = self._driver.pid
        try:
            tree = [psutil.Process(driver), *psutil.Process(driver).children(recursive=True)]
        except psutil.Error:
            return []
        self._lost |= dict.fromkeys(tree, self.now)
        return kinds_of(tree, driver)

    def _look_at_orphans(self) -> None:
        """How long anything of a driver outlives it: whoever is no more in a driver's tree, and still lives."""
        for process, seen in list(self._lost.items()):
            gone = self.now - seen
            if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
                del self._lost[process]
            elif gone > 2 * _TICK_S:
                title = _title(process)
                self.outlived[title] = max(gone, self.outlived.get(title, 0.0))


def _title(process: psutil.Process) -> str:
    """What it runs, without paths and numbers of its own."""
    with suppress(psutil.Error):
        words = [Path(word).name for word in process.cmdline() if not word.startswith("-")]
        return " ".join(words[:2])[:60]
    return "ended"


def _phase(run_dir: Path) -> Phase:
    """What the run is at: its last event and the iteration that this is of."""
    last: dict[str, Any] = next(iter(reversed(read_events(open_store(run_dir)))), {})
    return str(last.get("event")), int(last.get("iteration", -1))


def main() -> None:
    """Soak and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=20.0, help="of kills at least")
    parser.add_argument("--kills", type=int, default=40, help="at least")
    parser.add_argument(
        "--gap", type=float, nargs=2, default=(12.0, 20.0), help="seconds between kills, least and most"
    )
    parser.add_argument("--run-dir", type=Path, required=True, help="a new folder for all runs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, required=True)
    arguments = parser.parse_args()
    small = small_run(arguments.run_dir, users=1000, items=600, settings=SETTINGS)
    print(f"the golden run took {small.seconds:.0f} s and wrote {len(small.rows)} rows", flush=True)
    soak = Soak(small, arguments.run_dir.resolve(), Killer(arguments.seed, tuple(arguments.gap)))
    killed_s = 0.0
    try:
        while not soak.faults and ((kills := soak.is_short_of(arguments)) or soak.run_dir.exists()):
            killed_s = soak.now if kills else killed_s
            soak.tick(kills=kills)
            time.sleep(_TICK_S)
    finally:
        soak.close()
        Path(soak.folder, "samples.json").write_text(json.dumps([asdict(sample) for sample in soak.samples]))
        found = told(soak, killed_s)
        write_rows(arguments.json, soak.runs, seed=arguments.seed, gap=list(arguments.gap), soak=found)
    print(json.dumps({key: value for key, value in found.items() if key != "memory"}, indent=1))
    for kind, memory in found["memory"].items():
        print(kind, memory["within_life"], *memory["phases"], sep="\n  ")
    if soak.faults:
        sys.exit(f"see {arguments.run_dir}: {soak.faults}")
    shutil.rmtree(arguments.run_dir)


def told(soak: Soak, killed_s: float) -> dict[str, Any]:
    """What came of it."""
    return {
        "minutes": round(soak.now / 60, 2),
        "minutes_of_kills": round(killed_s / 60, 2),
        "kills": sum(soak.killer.kills.values()),
        "kills_of": dict(soak.killer.kills),
        "driver_starts": soak.starts,
        "driver_ends": dict(soak.ends),
        "runs_done": len(soak.runs),
        "rows": sum(row["rows"] for row in soak.runs),
        "rows_lost": sum(row["rows_lost"] for row in soak.runs),
        "rows_doubled": sum(row["rows_doubled"] + row["rows_changed"] for row in soak.runs),
        "outlived_their_driver_s": {title: round(gone, 1) for title, gone in soak.outlived.items()},
        "faults": soak.faults,
        "memory": summary(soak.samples, killed_s),
    }


if __name__ == "__main__":
    main()
