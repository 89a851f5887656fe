"""A run and its dataset in a bucket, one request in a hundred failing, the driver killed again and again: what is left?

    python -m benchmarks.faults.killed_on_s3 --kills 5 --faults 0.01 --json docs/results/killed-on-s3.json

The real command, with a Ray cluster of its own, a Train worker and two actors, against an S3 server, of
whose requests `--faults` is the share that goes wrong, in six ways. Each kill (SIGKILL, to the driver's process group)
waits for a phase of its own, in the order of `PHASES`, and falls at a random moment after the phase has written its
first key, or told that it began; the record says where that was. Then the same command is given again, until the run
is done. The study fails if

    rows, digest or `rsir verify` are not those of a run on a disk that nobody disturbed, before or after `rsir clean`,
    a kill did not take place, or a driver that was not killed ends otherwise than done (0) or resumable (3).
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.faults.small_run import (
    ENDS,
    SmallRun,
    command,
    command_environment,
    compare,
    faulty_s3,
    is_golden,
    rsir,
    small_run,
)
from benchmarks.record.result_file import Row, write_rows
from rsir_scale.data.synthetic import synthesize
from rsir_scale.runs import layout
from rsir_scale.runs.events import EVALUATION_STARTED
from rsir_scale.runs.status import read_status
from rsir_scale.storage.base import Store
from rsir_scale.storage.opening import open_store

SETTINGS: dict[str, dict[str, object]] = {
    "data": {"max_length": 20},
    "model": {"width": 32, "feed_forward": 64, "dropout": 0.1},
    "training": {"batch_size": 128, "max_epochs": 20, "patience": 20},
    "generation": {"shard_sources": 60, "trials_per_sequence": 4, "sources": "real", "actors": 2},
    "loop": {"iterations": 2},
}
MARKET = {"users": 1000, "items": 600}
TRAINING, EVALUATION, GENERATION = "training", "evaluation", "generation"
PHASES = (
    *((TRAINING, 0), (GENERATION, 0)),
    *((TRAINING, 1), (EVALUATION, 1), (GENERATION, 1)),
    *((TRAINING, 2), (EVALUATION, 2)),
)
# About what a phase of this market takes once it has begun.
_WITHIN_S = {TRAINING: 4.0, EVALUATION: 0.1, GENERATION: 3.0}
_LOOK_EVERY_S = 0.02
_MORE_STARTS = 5


class Watch:
    """Sees from outside what a run is at, soon enough to kill it there."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._events: dict[str, dict[str, Any]] = {}

    def has_begun(self, phase: str, iteration: int) -> bool:
        """Whether an iteration's training or generation has written something, or its evaluation was begun."""
        if phase == EVALUATION:
            told = [(event["event"], event.get("iteration")) for event in self._told()]
            return (EVALUATION_STARTED, iteration) in told
        folder = layout.training(iteration) if phase == TRAINING else f"{layout.folder(iteration)}/generation/data"
        return _count(self._store, folder) > 0

    def _told(self) -> list[dict[str, Any]]:
        # An evaluation would be over before all events, each an object that never changes, were read again.
        new = [key for key in self._store.list(layout.EVENTS) if key not in self._events]
        self._events |= {key: json.loads(self._store.read(key)) for key in new}
        return list(self._events.values())


def where(store: Store) -> Row:
    """Where a run stands: phase and iteration, shards committed of those planned, keys in all."""
    latest = read_status(store)["iterations"][-1]
    k = latest["iteration"]
    plan = store.read_if_exists(layout.plan(k))
    return {
        "fell_in": f"{latest['state']} {k}",
        "shards": len(json.loads(plan)["shards"]) if plan else None,
        "committed": _count(store, f"{layout.folder(k)}/generation/commits") if plan else None,
        "keys": _count(store, ""),
    }


def _count(store: Store, prefix: str) -> int:
    return sum(1 for _ in store.list(prefix))


class Driven:
    """A run on its way to its end, killed once for each of the phases given."""

    def __init__(self, words: list[str], store: Store, log: Path, *, seed: int) -> None:
        self._words = words
        self._store = store
        self._watch = Watch(store)
        self._log = log
        self._draws = np.random.default_rng(seed)
        self._began = time.monotonic()
        self.kills: list[Row] = []
        self.ends: list[int] = []

    def to_the_end(self, phases: tuple[tuple[str, int], ...]) -> float:
        """Give the command until the run is done, or has been given too often; returns seconds."""
        waiting = list(phases)
        while 0 not in self.ends and len(self.ends) < len(phases) + _MORE_STARTS:
            with self._log.open("a") as out:
                driver = subprocess.Popen(
                    self._words, stdout=out, stderr=out, env=command_environment(), start_new_session=True
                )
            try:
                if waiting and self._has_come(driver, *waiting[0]):
                    self._kill(driver, *waiting.pop(0))
                self.ends.append(driver.wait())
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(driver.pid, signal.SIGKILL)
        return round(time.monotonic() - self._began, 1)

    def _has_come(self, driver: subprocess.Popen[bytes], phase: str, iteration: int) -> bool:
        """Wait for a phase; False if the driver ends before."""
        while driver.poll() is None:
            if self._watch.has_begun(phase, iteration):
                return True
            time.sleep(_LOOK_EVERY_S)
        return False

    def _kill(self, driver: subprocess.Popen[bytes], phase: str, iteration: int) -> None:
        delay_s = float(self._draws.uniform(0.0, _WITHIN_S[phase]))
        time.sleep(delay_s)
        os.killpg(driver.pid, signal.SIGKILL)
        at_s = time.monotonic() - self._began
        if driver.wait() == -signal.SIGKILL:
            row = {"at_s": round(at_s, 1), "awaited": f"{phase} {iteration}", "delay_s": round(delay_s, 2)}
            self.kills.append(row | where(self._store))
            print(json.dumps(self.kills[-1]), flush=True)


def told(*words: str) -> dict[str, Any]:
    """What a command of `rsir` answers; ends the study if it fails."""
    done = subprocess.run(rsir(*words, "--json"), env=command_environment(), capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"rsir {' '.join(words)} ended with exit code {done.returncode}: {done.stdout}{done.stderr}")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def study(arguments: argparse.Namespace, folder: Path) -> tuple[list[Row], Row]:
    """Kill, take up again, compare, clean, compare; returns the kills and what came of them."""
    small, log = small_run(folder / "market", **MARKET, settings=SETTINGS), folder / "driver.log"
    with faulty_s3(arguments.faults) as (server, bucket):
        url, data = f"{bucket}/run", f"{bucket}/data"
        synthesize(**MARKET, out=data, seed=1)
        driven = Driven(command(small, url, "--set", f"data.path={data}"), open_store(url), log, seed=arguments.seed)
        seconds, counts = driven.to_the_end(PHASES[: arguments.kills]), server.counts()
        if 0 not in driven.ends:
            sys.exit(f"the run was not brought to its end ({driven.ends}): {log.read_text()}")
        row = {
            "seconds": seconds,
            "seconds_on_disk_without_ray": round(small.seconds, 1),
            "driver_ends": dict(Counter(ENDS.get(code, f"exit code {code}") for code in driven.ends)),
            "requests": sum(counts.values()),
            "requests_gone_wrong": {kind: counts[kind] for kind in sorted(counts) if kind != "none"},
            **_sound(small, url),
            "removed_by_clean": told("clean", url),
            "after_clean": _sound(small, url),
        }
    return driven.kills, row | {"amiss": amiss(row, kills=len(driven.kills), wanted=arguments.kills)}


def _sound(small: SmallRun, url: str) -> Row:
    told("verify", url)
    return compare(small, url)


def amiss(row: Row, *, kills: int, wanted: int) -> list[str]:
    """What is not as it must be."""
    odd = row["driver_ends"].keys() - set(ENDS.values())
    found = {
        "not the golden run": not is_golden(row),
        "not the golden run after clean": not is_golden(row["after_clean"]),
        f"{kills} kills of {wanted}": kills != wanted,
        f"drivers ended with {', '.join(odd)}": bool(odd),
    }
    return [what for what, is_so in found.items() if is_so]


def main() -> None:
    """Study and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, choices=range(1, len(PHASES) + 1), default=5)
    parser.add_argument("--faults", type=float, default=0.01, help="share of the requests that goes wrong")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, required=True)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rsir-killed-on-s3-") as folder:
        kills, row = study(arguments, Path(folder))
    write_rows(arguments.json, kills, faults=arguments.faults, seed=arguments.seed, run=row)
    print(json.dumps(row, indent=1))
    if row["amiss"]:
        sys.exit(f"see {arguments.json}: {row['amiss']}")


if __name__ == "__main__":
    main()
