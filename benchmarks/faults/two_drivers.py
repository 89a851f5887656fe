"""Two drivers on one run directory, started at random moments, the first sometimes killed: is a run ever mixed?

    python -m benchmarks.faults.two_drivers run --starts 50 --store disk --json two-drivers-disk.json
    python -m benchmarks.faults.two_drivers run --starts 50 --store s3 --faults 0.02 --json two-drivers-s3.json

A start is a new run directory, a driver, and a second one at a random moment, half of the time within a twentieth of a
second; in half of the starts the first is killed (SIGKILL) at a random moment. Then the command is given again until a
run is done. `--starts` drives without Ray, in processes that log each of their writes; `--command` counts starts of the
real `rsir run`. A start is mixed, and the study fails, if

    rows, digest or `rsir verify` are not those of an undisturbed run,
    an iteration was finished by two drivers, or writes of two drivers lie among each other,
    a driver that was not killed ends otherwise than done (0) or refused (3) with the holder and since when.

`--store s3` starts an S3 server, of whose requests `--faults` is the share that goes wrong.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Protocol

import numpy as np

from benchmarks.faults.small_run import (
    FORKS,
    SmallRun,
    command,
    command_environment,
    compare,
    drive,
    is_golden,
    small_run,
    stores,
)
from benchmarks.record.result_file import Row, write_rows
from rsir_scale.config.settings import Config
from rsir_scale.errors import ResumableError
from rsir_scale.runs.begun import is_run
from rsir_scale.runs.events import ITERATION_DONE, read_events
from rsir_scale.runs.status import read_status
from rsir_scale.storage.base import is_temporary
from rsir_scale.storage.opening import open_store

SETTINGS: dict[str, dict[str, object]] = {
    "model": {"width": 16, "feed_forward": 16, "dropout": 0.1},
    "training": {"batch_size": 32, "max_epochs": 3, "loss": "cross_entropy"},
    "generation": {"shard_sources": 25, "trials_per_sequence": 2},
    "loop": {"iterations": 2},
}
_REFUSED = re.compile(r"is held by process (\d+) on host \S+ since \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")
_SAME_MOMENT = "another driver started at the same moment"
_AT_ONCE_S = 0.05
_AT_MOST = 8
_WRITTEN = (".done", "append_line")
Drive = Callable[[Config, str, Path, dict[str, str]], None]


def logged(config: Config, url: str, told: Path, environment: dict[str, str]) -> None:
    """Drive, and log every write in a file beside `told`; the server that forks may not know this environment."""
    os.environ.update(environment)
    log = os.open(f"{told}.writes", os.O_CREAT | os.O_WRONLY | os.O_APPEND)

    def before(step: str, key: str) -> None:
        # Of a lease and of what tries the store out, everybody writes.
        if step.endswith(_WRITTEN) and not (key.startswith("lease/") or is_temporary(key)):
            os.write(log, f"{time.monotonic_ns()} {key}\n".encode())

    drive(config, url, before=before, told=told)


class Driver(Protocol):
    """A driver that runs or has ended."""

    pid: int

    def wait(self) -> int:
        """Its exit code, negative for the signal that killed it."""

    def kill(self) -> None:
        """End it at once."""

    def message(self) -> str:
        """What it said on its way out."""


class Fork:
    """A driver without Ray, which logs its writes."""

    def __init__(self, small: SmallRun, url: str, told: Path, *, drive: Drive = logged) -> None:
        self._told = told
        self._process = FORKS.Process(target=drive, args=(small.config, url, told, dict(os.environ)))
        self._process.start()
        self.pid = int(self._process.pid or 0)

    def wait(self) -> int:
        """See `Driver.wait`."""
        self._process.join()
        return int(self._process.exitcode or 0)

    def kill(self) -> None:
        """See `Driver.kill`."""
        self._process.kill()

    def message(self) -> str:
        """See `Driver.message`."""
        return self._told.read_text() if self._told.exists() else ""


class Command:
    """The real command, which starts Ray."""

    def __init__(self, small: SmallRun, url: str, told: Path) -> None:
        self._told = told
        with told.open("w") as out:
            self._process = subprocess.Popen(
                command(small, url), stdout=subprocess.DEVNULL, stderr=out, env=command_environment()
            )
        self.pid = self._process.pid

    def wait(self) -> int:
        """See `Driver.wait`."""
        return self._process.wait()

    def kill(self) -> None:
        """See `Driver.kill`."""
        self._process.kill()

    def message(self) -> str:
        """See `Driver.message`."""
        return self._told.read_text()


@dataclass(frozen=True)
class Start:
    """What happens in a start: seconds until the second driver, and until the first is killed, if it is."""

    second_s: float
    kill_s: float | None


def drawn(seed: int, number: int, usual_s: float) -> Start:
    """The `number`-th start of a seed, for runs that usually take `usual_s`."""
    at_once, moment, kills, killed = np.random.default_rng([seed, number]).random(4)
    second_s = moment * (_AT_ONCE_S if at_once < 0.5 else usual_s)
    return Start(float(second_s), float(killed * usual_s) if kills < 0.5 else None)


def one_start(small: SmallRun, start: Start, url: str, folder: Path, begin: Callable[..., Driver]) -> Row:
    """Let two drivers, and then as many as it takes, work on one run directory; tell what came of it."""
    folder.mkdir(parents=True)
    drivers = [begin(small, url, folder / "driver-0")]
    began = time.monotonic()

    def second() -> None:
        drivers.append(begin(small, url, folder / "driver-1"))

    moments = [(start.second_s, second)]
    if start.kill_s is not None:
        moments.append((start.kill_s, drivers[0].kill))
    for moment, act in sorted(moments, key=lambda pair: pair[0]):
        time.sleep(max(0.0, began + moment - time.monotonic()))
        act()
    codes = [driver.wait() for driver in drivers]
    while 0 not in codes and len(drivers) < _AT_MOST:
        drivers.append(begin(small, url, folder / f"driver-{len(drivers)}"))
        codes.append(drivers[-1].wait())
    faults = [*_odd_ends(drivers, codes), *_odd_run(small, url, folder, drivers)]
    return {
        "second_s": round(start.second_s, 3),
        "kill_s": None if start.kill_s is None else round(start.kill_s, 3),
        "codes": codes,
        "refused": sum(code == ResumableError.exit_code for code in codes),
        "outcome": _outcome(codes, _writers(folder, drivers)),
        "faults": faults,
        "seconds": round(time.monotonic() - began, 2),
    }


def _odd_ends(drivers: list[Driver], codes: list[int]) -> Iterator[str]:
    pids = {str(driver.pid) for driver in drivers}
    for number, (driver, code) in enumerate(zip(drivers, codes, strict=True)):
        message = driver.message()
        named = _REFUSED.search(message)
        if code == ResumableError.exit_code:
            told = named is not None and named[1] in pids - {str(driver.pid)}
            if not told and _SAME_MOMENT not in message:
                yield f"driver {number} was refused without a word on the holder: {message}"
        elif code and (number, code) != (0, -signal.SIGKILL):
            yield f"driver {number} ended with exit code {code}: {message}"


def _odd_run(small: SmallRun, url: str, folder: Path, drivers: list[Driver]) -> Iterator[str]:
    store = open_store(url)
    if not is_run(store) or read_status(store)["state"] != "done":
        yield "the run is not done"
        return
    found = compare(small, url)
    if not is_golden(found):
        yield f"not the golden run: {found}"
    finished = Counter(event.get("iteration") for event in read_events(store) if event["event"] == ITERATION_DONE)
    yield from (f"iteration {k} was finished {times} times" for k, times in finished.items() if times > 1)
    made = Counter(key for writes in _writes(folder, drivers) for _, key in writes if "MANIFEST" in key)
    yield from (f"{key} was made {times} times" for key, times in made.items() if times > 1)
    spans = sorted((writes[0][0], writes[-1][0]) for writes in _writes(folder, drivers) if writes)
    if any(later[0] <= earlier[1] for earlier, later in pairwise(spans)):
        yield f"writes of two drivers lie among each other: {spans}"


def _writes(folder: Path, drivers: list[Driver]) -> list[list[tuple[int, str]]]:
    """Moments and keys of what each driver wrote, leases aside; nothing of real commands, which keep no log."""
    logs = [folder / f"driver-{number}.writes" for number in range(len(drivers))]
    lines = [log.read_text().splitlines() if log.exists() else [] for log in logs]
    return [[(int(line.split()[0]), line.split()[1]) for line in found] for found in lines]


def _writers(folder: Path, drivers: list[Driver]) -> list[int]:
    return [number for number, writes in enumerate(_writes(folder, drivers)) if writes]


def _outcome(codes: list[int], writers: list[int]) -> str:
    finisher = ("first", "second", "a later one")[min(codes.index(0), 2)] if 0 in codes else "nobody"
    if codes[0] == 0 and codes[1] == 0:
        return "first finished, second found it done" if writers[:1] == [0] else "second finished, first found it done"
    if codes[0] < 0:
        return f"{finisher} finished, the first being killed"
    return f"{finisher} finished, the other was refused"


def study(arguments: argparse.Namespace, folder: Path) -> dict[str, Row]:
    """All starts; a summary of each kind."""
    rows: list[Row] = []
    found: dict[str, Row] = {}
    with stores(arguments.store, folder, arguments.faults) as address:
        small = small_run(folder / "market", users=60, items=40, settings=SETTINGS)
        kinds = [("protocol", Fork, arguments.starts), ("command", Command, arguments.command)]
        for kind, begin, count in kinds:
            usual_s = small.seconds
            if count and kind == "command":
                usual_s = one_start(small, Start(0, None), address("usual"), folder / "usual", begin)["seconds"]
            for number in range(count):
                start = drawn(arguments.seed, number, usual_s)
                name = f"{kind}-{number}"
                row = {"kind": kind, "number": number}
                row |= one_start(small, start, address(name), folder / name, begin)
                rows.append(row)
                found = save(arguments, rows)
                print(json.dumps(row), flush=True)
    return found


def save(arguments: argparse.Namespace, rows: list[Row]) -> dict[str, Row]:
    """Replace the file by the starts so far; returns what they come to."""
    found = {kind: summary([row for row in rows if row["kind"] == kind]) for kind in {row["kind"] for row in rows}}
    write_rows(arguments.json, rows, store=arguments.store, faults=arguments.faults, seed=arguments.seed, summary=found)
    return found


def summary(rows: list[Row]) -> Row:
    """Outcomes and how often each."""
    return {
        "starts": len(rows),
        "refused": sum(row["refused"] for row in rows),
        "killed": sum(row["codes"][0] < 0 for row in rows),
        "mixed": sum(bool(row["faults"]) for row in rows),
        "outcomes": dict(Counter(row["outcome"] for row in rows).most_common()),
    }


def main() -> None:
    """Start, compare and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=["run"])
    parser.add_argument("--starts", type=int, default=50, help="without Ray")
    parser.add_argument("--command", type=int, default=0, help="starts of the real command")
    parser.add_argument("--store", choices=["disk", "s3"], default="disk")
    parser.add_argument("--faults", type=float, default=0.0, help="share of S3's requests that goes wrong")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, required=True)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rsir-two-drivers-") as folder:
        found = study(arguments, Path(folder))
    print(json.dumps(found, indent=1))
    if any(outcome["mixed"] for outcome in found.values()):
        sys.exit("a run was mixed: see the faults above")


if __name__ == "__main__":
    main()
