"""How far a long step is, told by the code that works to the code that shows it.

Comes in: what is done, out of what. Goes out: a `Step`. A worker takes a `Tell` and calls it now and then; what becomes
of that, a bar on a terminal or a line in a log, is the business of `loop.line`.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

Clock = Callable[[], float]


@dataclass(frozen=True)
class Step:
    """Where a step stands.

    Attributes:
        what: in words, such as `iteration 0/2  training`.
        done: units that are finished; total: of the whole step, 0 where nobody knows.
        unit: what is counted.
        facts: what else is known, the least important first: on a narrow terminal these are left out first.
        left: in words, how long it will take; None where nobody knows.
    """

    what: str
    done: int = 0
    total: int = 0
    unit: str = ""
    facts: tuple[str, ...] = ()
    left: str | None = None

    @property
    def count(self) -> str | None:
        """Done of total, in words."""
        return f"{self.unit} {self.done:,}/{self.total:,}".strip() if self.total else None

    @property
    def text(self) -> str:
        """All of it on one line."""
        return "  ".join([self.what, *(part for part in (self.count, *self.facts, self.left) if part)])


Tell = Callable[[Step], None]


def silent(_: Step) -> None:
    """Show nothing."""


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

    def left(self, done: int) -> str | None:
        """The time to go at this rate, such as `3 min 5 s left`; None where no rate is known."""
        rate = self.rate(done)
        return None if rate is None else f"{duration(max(0, self._total - done) / rate)} left"


def counted(tell: Tell, what: str, total: int, unit: str) -> Callable[[int], None]:
    """Tell of a step by the units that are done, with the time left."""
    meter = Meter(total, done=0)
    return lambda done: tell(Step(what, done, total, unit, left=meter.left(done)))


def duration(seconds: float) -> str:
    """Spell out seconds: 42 s, 7 min 5 s, 3 h 20 min."""
    whole = round(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {whole % 60} s" if minutes else f"{whole} s"
