"""One honest line about what goes on: iteration, phase, done of total, rate, acceptance, time left.

Comes in: what the phases report. Goes out: text on stderr; on a terminal one line that is rewritten in place, in a job
log a line at most every ten seconds and one for each phase that ends. Rates are of this start, so a resumed phase does
not claim work that was done before. Training mostly ends early: its time left is an upper bound, and says so.
"""

import shutil
import sys
import time
from collections.abc import Callable, Mapping
from typing import TextIO

from rsir_scale.training.epoch import Progress

Clock = Callable[[], float]
_REDRAW_S = 0.2
_LOG_EVERY_S = 10.0
_CLEAR = "\r\x1b[2K"


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

    def update(self, text: str) -> None:
        """Show what goes on, unless something was shown a moment ago."""
        now = self._clock()
        if now - self._last < self._every_s:
            return
        self._last = now
        if self._rewrites:
            width = shutil.get_terminal_size().columns - 1
            self._write(f"{_CLEAR}{text[:width]}")
            self._open = True
        else:
            self._write(f"{text}\n")

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


class Meter:
    """Rate and time left of one phase, counted from its first report, so that starting up does not show as slowness.

    Args:
        total: units of the whole phase; done: units finished at the first report.
        clock: seconds from any origin.
    """

    def __init__(self, total: int, *, done: int, clock: Clock = time.monotonic) -> None:
        self._total = total
        self._done_before = done
        self._clock = clock
        self._started = clock()

    def rate(self, done: int) -> float | None:
        """Units a second since the first report; None before there is anything to divide."""
        spent, fresh = self._clock() - self._started, done - self._done_before
        return fresh / spent if spent > 0 and fresh > 0 else None

    def left_s(self, done: int) -> float | None:
        """Seconds to go at this rate; None where no rate is known."""
        rate = self.rate(done)
        return None if rate is None else max(0, self._total - done) / rate


def phase_line(iteration: int, last: int, phase: str, *facts: str | None) -> str:
    """Join what is known; `None` facts are left out."""
    return "  ".join([f"iteration {iteration}/{last}", phase, *(fact for fact in facts if fact)])


def duration(seconds: float | None) -> str | None:
    """Spell out seconds: 42 s, 7 min 5 s, 3 h 20 min; None stays None."""
    if seconds is None:
        return None
    whole = round(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {whole % 60} s" if minutes else f"{whole} s"


class TrainingLine:
    """What a training tells, as lines of a `ProgressLine`; `phase` says what is trained."""

    def __init__(self, line: ProgressLine, *, iteration: int, last: int, phase: str = "training") -> None:
        self._line = line
        self._where = iteration, last
        self._phase = phase
        self._meter: Meter | None = None
        self._latest: Progress | None = None

    def update(self, progress: Progress) -> None:
        """Show the state after a validation; time left is what the whole budget would take."""
        if self._meter is None:
            self._meter = Meter(progress.maximum, done=progress.update)
        self._latest = progress
        rate, left = self._meter.rate(progress.update), duration(self._meter.left_s(progress.update))
        self._line.update(
            phase_line(
                *self._where,
                self._phase,
                f"update {progress.update:,}/{progress.maximum:,}",
                f"{rate:.1f} updates/s" if rate else None,
                f"loss {progress.loss:.3f}",
                f"{progress.score_name} {progress.score:.4f} (best {progress.best_score:.4f})",
                f"at most {left} left" if left else None,
            )
        )

    def done(self, *, updates: int, score: float, seconds: float) -> None:
        """Say how the fit ended."""
        self._line.note(
            phase_line(
                *self._where,
                "trained",
                f"{updates:,} updates",
                f"best validation NDCG@20 {score:.4f}",
                duration(seconds),
            )
        )


class GenerationLine:
    """What the shards of an iteration tell, as lines of a `ProgressLine`.

    Args:
        rows: source rows of each shard that was missing at the start, by shard index.
        done: shards committed before; shards: all of the plan.
    """

    def __init__(
        self, line: ProgressLine, *, iteration: int, last: int, rows: Mapping[int, int], done: int, shards: int
    ) -> None:
        self._line = line
        self._where = iteration, last
        self._rows = rows
        self._done, self._shards = done, shards
        self._rows_done = 0
        self._totals: dict[str, int] = {}
        self._sources: Meter | None = None
        self._trials: Meter | None = None

    def update(self, shard: int, counts: Mapping[str, int]) -> None:
        """Count a committed shard and show where the phase stands."""
        self._done += 1
        self._rows_done += self._rows.get(shard, 0)
        for name, count in counts.items():
            self._totals[name] = self._totals.get(name, 0) + count
        trials = self._totals.get("trials", 0)
        if self._sources is None or self._trials is None:
            self._sources = Meter(sum(self._rows.values()), done=self._rows_done)
            self._trials = Meter(0, done=trials)
        rate, left = self._trials.rate(trials), duration(self._sources.left_s(self._rows_done))
        self._line.update(
            phase_line(
                *self._where,
                "generating",
                f"shard {self._done}/{self._shards}",
                f"{rate:,.0f} trials/s" if rate else None,
                self._acceptance(),
                f"{left} left" if left else None,
            )
        )

    def done(self) -> None:
        """Say what this start wrote."""
        kept = self._totals.get("rows_kept", 0)
        self._line.note(
            phase_line(
                *self._where,
                "generated",
                f"{self._done}/{self._shards} shards",
                f"{self._totals.get('trials', 0):,} trials left {kept:,} sequences",
                self._acceptance(),
            )
        )

    def _acceptance(self) -> str | None:
        steps = self._totals.get("steps", 0)
        return f"acceptance {100 * self._totals.get('accepted_steps', 0) / steps:.1f} %" if steps else None
