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
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.record.machine import commit
from benchmarks.record.result_file import Row, write_rows
from benchmarks.speed.turns import BEFORE, ROOT, Worker, checkout, clocked

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


def measure(case: Case, before: Path, scratch: Path, repeats: int, cap: int) -> list[Row]:
    """Time a case on both versions in turns; the first round, in which both warm up, does not count."""
    trees, every = {"ours": ROOT, "before": before}, {"ours": 1, "before": case.every}
    workers = {
        name: Worker(tree, WORKER, asked(case, every[name], cap, scratch / name)) for name, tree in trees.items()
    }
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in workers}
    for _ in range(repeats + 1):
        for name, worker in workers.items():
            clock, worked = worker.do()
            taken[name].append((every[name] * clock, every[name] * worked))
    found = {name: answers(worker, scratch / name) for name, worker in workers.items()}
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


def asked(case: Case, every: int, cap: int, out: Path) -> list[str]:
    """What a worker is to do, for every so-many-th user."""
    sizes = {"items": case.items, "users": case.users, "every": every, "cap": cap, "out": f"{out}.npy"}
    return [case.task, *(f"--{name}={value}" for name, value in sizes.items())]


def answers(worker: Worker, out: Path) -> npt.NDArray[np.int64]:
    """End a worker, and return what it found for each of its users."""
    worker.end()
    found: npt.NDArray[np.int64] = np.load(f"{out}.npy")
    return found


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
