"""How fast are evaluation, validation while training, and `recommend`, and how fast were they before the exact search?

    OMP_NUM_THREADS=1 python -m benchmarks.speed.evaluation --json docs/results/evaluation.json

`before` is the commit that this began with, checked out beside this one for as long as it takes; it needs nothing
compiled. Both rank the same planted world (`evaluation_worker.py`) on one thread, in turns, a process each, encoding
and packing counted. `seconds` is the median of `--repeats` rounds and `cpu_seconds` what the process worked of it,
which others on the machine disturb less; `times_before` and `times_before_cpu` are medians of the rounds' ratios.
Answers are compared first: ranks up to the cap, and recommended items, may differ for one row in a hundred, since
products in float32 decided before. Where `before` takes minutes it ranks every so-many-th user and its time is
multiplied: `users_timed` says how many. The whole takes eight minutes on a quiet core, most of them `before`'s.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.record.machine import commit
from benchmarks.record.result_file import Row, write_rows

ROOT = Path(__file__).parents[2]
BEFORE = "67a56c2"
WORKER = Path(__file__).with_name("evaluation_worker.py")
CUTOFF = 20
DIFFERENT = 0.01  # rows whose answer may differ


@dataclass(frozen=True)
class Case:
    """What is timed. `before` does it for every `every`-th user."""

    task: str
    items: int
    users: int
    every: int = 1


CASES = (
    Case("evaluation", 1_000_000, 20_000, every=10),
    Case("validation", 1_000_000, 20_000),
    Case("recommend", 8_000, 40_000),
    Case("recommend", 1_000_000, 4_000, every=20),
    Case("evaluation", 12_000, 20_000),
    Case("validation", 12_000, 20_000),
)


class Worker:
    """A process that does one task on one version, as often as it is told.

    Args:
        tree: the version's checkout.
        case: the task.
        every: for every so-many-th user.
        cap: of ranks, where the version has one.
        out: where it leaves its answers.
    """

    def __init__(self, tree: Path, case: Case, *, every: int, cap: int, out: Path) -> None:
        sizes = {"items": case.items, "users": case.users, "every": every, "cap": cap, "out": out}
        command = [sys.executable, str(WORKER), case.task, *(f"--{name}={value}" for name, value in sizes.items())]
        environment = os.environ | {"PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
        self._every, self._out = every, out
        self._process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._told: Iterator[str] = iter(self._process.stdout or ())
        self._next()

    def seconds(self) -> tuple[float, float]:
        """Do it once, and say what it takes for all users: by the clock, and of the processor."""
        if self._process.stdin:
            print(file=self._process.stdin, flush=True)
        clock, worked = self._next().split()
        return self._every * float(clock), self._every * float(worked)

    def answers(self) -> npt.NDArray[np.int64]:
        """End, and return what it found for each of its users."""
        self._process.communicate()
        found: npt.NDArray[np.int64] = np.load(self._out)
        return found

    def _next(self) -> str:
        line = next(self._told, None)
        if line is None:
            raise SystemExit("a worker ended early: its message stands above")
        return line


def main() -> None:
    """Measure, print, and write after each case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--cap", type=int, default=1000)
    parser.add_argument("--tasks", nargs="+", default=sorted({case.task for case in CASES}))
    parser.add_argument("--shrink", type=int, default=1, help="divides users and items, for a try")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as scratch, checkout(Path(scratch, "before")) as before:
        for case in shrunk(arguments.tasks, arguments.shrink):
            rows += measure(case, before, Path(scratch), arguments.repeats, arguments.cap)
            for row in rows[-2:]:
                print(row, flush=True)
            if arguments.json:
                write_rows(arguments.json, rows)


def shrunk(tasks: list[str], divisor: int) -> list[Case]:
    """The cases of some tasks, smaller."""
    return [
        Case(case.task, case.items // divisor, case.users // divisor, case.every)
        for case in CASES
        if case.task in tasks
    ]


@contextmanager
def checkout(folder: Path) -> Iterator[Path]:
    """The version before, in a folder that goes away again."""
    subprocess.run(["git", "worktree", "add", "--quiet", "--detach", folder, BEFORE], cwd=ROOT, check=True)
    try:
        yield folder
    finally:
        subprocess.run(["git", "worktree", "remove", "--force", folder], cwd=ROOT, check=True)


def measure(case: Case, before: Path, scratch: Path, repeats: int, cap: int) -> list[Row]:
    """Time a case on both versions in turns; the first round, in which both warm up, does not count."""
    workers = {
        "ours": Worker(ROOT, case, every=1, cap=cap, out=scratch / "ours.npy"),
        "before": Worker(before, case, every=case.every, cap=cap, out=scratch / "before.npy"),
    }
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in workers}
    for _ in range(repeats + 1):
        for name, worker in workers.items():
            taken[name].append(worker.seconds())
    found = {name: worker.answers() for name, worker in workers.items()}
    cap = CUTOFF if case.task == "validation" else cap
    facts = compared(case, found["ours"], found["before"], cap)
    return [
        {
            "implementation": name,
            "task": case.task,
            "items": case.items,
            "users": case.users,
            "users_timed": len(found[name]),
            "threads": 1,
            "commit": commit() if name == "ours" else BEFORE,
            **clocked(taken[name][1:], taken["before"][1:]),
            **facts,
        }
        for name in workers
    ]


def clocked(own: list[tuple[float, float]], before: list[tuple[float, float]]) -> dict[str, float]:
    """Medians over the rounds: of the times, and of how many times as long the version before took."""
    figures: dict[str, float] = {}
    for place, kind in enumerate(("", "_cpu")):
        ratios = [theirs[place] / mine[place] for mine, theirs in zip(own, before, strict=True)]
        figures[f"{kind}_seconds".lstrip("_")] = round(statistics.median(mine[place] for mine in own), 3)
        figures[f"times_before{kind}"] = round(statistics.median(ratios), 2)
    return figures


def compared(
    case: Case, ours: npt.NDArray[np.int64], before: npt.NDArray[np.int64], cap: int
) -> dict[str, float | int]:
    """Hold the answers to each other, and say what kind of ranks there are."""
    if case.task == "recommend":
        different = float((ours[:: case.every] != before).any(1).mean())
        facts: dict[str, float | int] = {"top": ours.shape[1]}
    else:
        own, theirs = (np.minimum(ranks, cap + 1) for ranks in (ours[:: case.every], before))
        different = float((own != theirs).mean())
        facts = {
            "rank_cap": cap,
            "within_20": round(float((ours <= CUTOFF).mean()), 3),
            "within_cap": round(float((ours <= cap).mean()), 3),
        }
    if different > DIFFERENT:
        raise SystemExit(f"{case}: {100 * different:.2f} % of the answers differ, so their times say nothing")
    return facts | {"rows_different": round(different, 5)}


if __name__ == "__main__":
    main()
