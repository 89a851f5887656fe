"""One row of a table of the paper beside ours: what was measured, the gain over the base, and in words what holds.

Comes in: the paper's figures, and what a study or an earlier script found. Goes out: rows of Markdown. Bases differ,
so what is compared is the gain over the own base, in per cent of it. A gain *holds* where our interval lies above zero,
and *fails* where it lies at or below; else it is *open*. It is called *smaller* where the paper's gain lies above the
whole interval.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Entry = Mapping[str, Any]
HOLDS, SMALLER, OPEN, FAILS = "holds", "holds, smaller", "open", "fails"
OPEN_SMALLER = "open, smaller"


@dataclass(frozen=True)
class Gain:
    """A figure against that of the base; `low` and `high`, in per cent, are None where there is no interval."""

    base: float
    value: float
    low: float | None = None
    high: float | None = None

    @property
    def percent(self) -> float:
        """Of the base."""
        return 100.0 * (self.value / self.base - 1.0) if self.base else 0.0


@dataclass(frozen=True)
class Line:
    """A row: what it is of, both sides by metric, and how many seeds ours has."""

    what: tuple[str, ...]
    theirs: Mapping[str, Gain]
    ours: Mapping[str, Gain]
    seeds: int


def of_study(entry: Entry) -> Gain:
    """A difference as a study's report has it."""
    low, high = entry["percent"][1:] if entry["percent"] else (None, None)
    return Gain(entry["base"], entry["value"], low, high)


def of_row(row: Entry) -> Gain:
    """A difference as an earlier script left it, in shares."""
    return Gain(row["base"], row["treated"], 100.0 * row["low"], 100.0 * row["high"])


def word(ours: Gain, theirs: Gain) -> str:
    """Whether a gain that the paper states is there."""
    if ours.low is None or ours.high is None:
        return "–"
    if theirs.percent <= 0.0:
        return "no gain in the paper" + (", one here" if ours.low > 0.0 else "")
    if ours.high <= 0.0:
        return FAILS
    smaller = theirs.percent > ours.high
    if ours.low > 0.0:
        return SMALLER if smaller else HOLDS
    return OPEN_SMALLER if smaller else OPEN


def table(of: Sequence[str], metrics: Sequence[str], lines: Sequence[Line]) -> Iterator[str]:
    """Markdown of some rows; nothing where there are none.

    Args:
        of: what the first columns say.
        metrics: shown in one cell each side, in this order; the words are about the first.
        lines: the rows.
    """
    if not lines:
        return
    names = " / ".join(metrics)
    columns = [
        *of,
        f"paper: {names}",
        "over its base",
        "ours",
        "over our base",
        "less the paper's",
        "seeds",
        "in words",
    ]
    yield f"| {' | '.join(columns)} |"
    yield f"|{'---|' * len(columns)}"
    for line in lines:
        theirs, ours = ([side.get(name) for name in metrics] for side in (line.theirs, line.ours))
        first, their_first = ours[0], theirs[0]
        cells = [
            *line.what,
            _joined(number(gain.value) for gain in theirs if gain),
            _joined(f"{gain.percent:+.1f} %" for gain in theirs if gain),
            _joined(number(gain.value) for gain in ours if gain),
            _joined(interval(gain) for gain in ours if gain),
            _joined(f"{a.percent - b.percent:+.1f}" for a, b in zip(ours, theirs, strict=True) if a and b),
            str(line.seeds),
            word(first, their_first) if first and their_first else "–",
        ]
        yield f"| {' | '.join(cells)} |"


def number(value: float) -> str:
    """A metric with four digits and without its zero."""
    return f"{value:.4f}".removeprefix("0")


def interval(gain: Gain) -> str:
    """A gain in per cent with its interval."""
    if gain.low is None or gain.high is None:
        return f"{gain.percent:+.1f} %"
    return f"{gain.percent:+.1f} % [{_bound(gain.low)}, {_bound(gain.high)}]"


def _bound(percent: float) -> str:
    """One that would be shown as zero gets another digit, for its sign matters."""
    return f"{percent:+.1f}" if abs(percent) >= 0.05 else f"{percent:+.2f}"


def _joined(parts: Iterator[str]) -> str:
    return " / ".join(parts) or "–"
