"""What a person sees of a long step: a bar on a terminal, lines in a job log.

Comes in: a `steps.Step` each time that something moved. Goes out: text on stderr. On a terminal one line is drawn in
place, by rich: the step, a bar, counts, facts, and the time left at its end, which stays however narrow the terminal
is. In a job log a line comes at most every ten seconds, and one for each phase that ends. It loads no torch.
"""

import shutil
import sys
import time
from collections.abc import Sequence
from typing import TextIO

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.progress_bar import ProgressBar
from rich.table import Table

from rsir_scale.steps import Clock, Step

_REDRAW_S = 0.2
_LOG_EVERY_S = 10.0
_CLEAR = "\r\x1b[2K"
_GAP = 2
_SHORTEST_BAR, _LONGEST_BAR = 8, 30


class ProgressLine:
    """Where progress is shown.

    Args:
        stream: stderr unless told otherwise.
        clock: seconds from any origin.
        at_once: whether the first update is shown; otherwise what ends soon shows none.
    """

    def __init__(self, stream: TextIO | None = None, *, clock: Clock = time.monotonic, at_once: bool = True) -> None:
        self._stream = stream or sys.stderr
        self._clock = clock
        self._rewrites = self._stream.isatty()
        self._every_s = _REDRAW_S if self._rewrites else _LOG_EVERY_S
        self._last = float("-inf") if at_once else clock()
        self._open = False

    def update(self, step: Step) -> None:
        """Show what goes on, unless something was shown a moment ago."""
        now = self._clock()
        if now - self._last < self._every_s:
            return
        self._last = now
        if self._rewrites:
            width = shutil.get_terminal_size().columns - 1
            self._write(f"{_CLEAR}{drawn(step, self._stream, width)}")
            self._open = True
        else:
            self._write(f"{step.text}\n")

    def note(self, text: str) -> None:
        """Write a line that stays."""
        self._write(f"{_CLEAR if self._open else ''}{text}\n")
        self._open = False
        self._last = float("-inf") if self._rewrites else self._clock()

    def close(self) -> None:
        """Leave the terminal at the beginning of a fresh line."""
        if self._open:
            self._write("\n")
            self._open = False

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


def drawn(step: Step, stream: TextIO, width: int) -> str:
    """A step on one line of a terminal.

    Args:
        step: to draw; the step itself and the time left stay, then come the bar, the counts, and facts from the last.
        stream: of the terminal, whose encoding says which characters a bar may have.
        width: columns, at least 1.
    """
    console = Console(file=stream, width=width, force_terminal=True, highlight=False, markup=False, emoji=False)
    left = [step.left[-width:]] if step.left else []
    room = width - sum(cell_len(text) + _GAP for text in left)
    what = step.what if cell_len(step.what) <= room else set_cell_size(step.what, max(0, room))
    room -= cell_len(what) + _GAP
    bar = _SHORTEST_BAR if step.total and room >= _SHORTEST_BAR else 0
    room -= bar + _GAP if bar else 0
    counts, room = _fitting([step.count] if step.count else [], room)
    facts, room = _fitting(step.facts[::-1], room)
    bars = [ProgressBar(step.total, step.done, width=bar + max(0, min(room, _LONGEST_BAR - bar)))] if bar else []
    grid = Table.grid(padding=(0, _GAP, 0, 0), pad_edge=False)
    grid.add_row(*([what] if what else []), *bars, *counts, *facts[::-1], *left)
    with console.capture() as captured:
        console.print(grid, end="", no_wrap=True, crop=True)
    return captured.get().rstrip("\n")


def _fitting(texts: Sequence[str], room: int) -> tuple[list[str], int]:
    """The first of some texts that fit into the room beside one another, and the room that they leave."""
    fitting: list[str] = []
    for text in texts:
        if cell_len(text) > room:
            break
        fitting.append(text)
        room -= cell_len(text) + _GAP
    return fitting, room
