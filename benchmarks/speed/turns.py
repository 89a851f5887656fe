"""This version and an earlier one in turns: a process each, which does its task as often as it is told.

Comes in: a script that both versions can run, its arguments and a checkout. Goes out: seconds by the clock and of the
processor for each round. A script says `ready` on a line of its own when it is; then, for each line that it reads, it
does its task and prints the two.
"""

import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
BEFORE = "67a56c2"  # the commit that issue SPEED began with


class Worker:
    """A process that does one task on one version.

    Args:
        tree: the version's checkout.
        script: what it runs.
        arguments: of the script.
    """

    def __init__(self, tree: Path, script: Path, arguments: Sequence[str]) -> None:
        command = [sys.executable, str(script), *arguments]
        environment = os.environ | {"PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._told: Iterator[str] = iter(self._process.stdout or ())
        self._next()

    def do(self) -> tuple[float, float]:
        """Do the task once, and say what it took: seconds by the clock, and of the processor."""
        if self._process.stdin:
            print(file=self._process.stdin, flush=True)
        clock, worked = self._next().split()
        return float(clock), float(worked)

    def end(self) -> str:
        """End the process, and return what else it said."""
        return self._process.communicate()[0]

    def _next(self) -> str:
        line = next(self._told, None)
        if line is None:
            raise SystemExit("a worker ended early: its message stands above")
        return line


@contextmanager
def checkout(folder: Path) -> Iterator[Path]:
    """The version before, in a folder that goes away again; nothing in it is compiled."""
    subprocess.run(["git", "worktree", "add", "--quiet", "--detach", folder, BEFORE], cwd=ROOT, check=True)
    try:
        yield folder
    finally:
        subprocess.run(["git", "worktree", "remove", "--force", folder], cwd=ROOT, check=True)


def clocked(own: list[tuple[float, float]], before: list[tuple[float, float]]) -> dict[str, float]:
    """Medians over the rounds: of the times, and of how many times as long the version before took."""
    figures: dict[str, float] = {}
    for place, kind in enumerate(("", "_cpu")):
        ratios = [theirs[place] / mine[place] for mine, theirs in zip(own, before, strict=True)]
        figures[f"{kind}_seconds".lstrip("_")] = round(statistics.median(mine[place] for mine in own), 3)
        figures[f"times_before{kind}"] = round(statistics.median(ratios), 2)
    return figures
