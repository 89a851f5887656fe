"""How predictable sequences of items are: approximate entropy as the paper defines it, and two forms that tell more.

Comes in: sequences. Goes out: entropies in nats. Items are names, so two windows of m items are alike where they are
equal (the paper's r = 0), and no window goes across two sequences.

As defined (paper App. G; Pincus, 1991), a sequence's ApEn is Phi^m - Phi^(m+1), Phi^m being the mean log share of its
windows that equal one of them. Where no window repeats within the sequence, that is ln((N - m) / (N - m + 1)): below 0,
and a function of the length N alone. Most users repeat nothing, so the paper's figure tells lengths. Beside it stand

- the *excess* over that value: 0 where nothing repeats, whatever the length;
- the *corpus* value H_(m+1) - H_m, the entropy of an item given the m before it, over the windows of all sequences. It
  grows with the number of windows, so two corpora are compared on equally many, drawn by identity.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rsir_scale.data.sequences import Int64Array, Sequences
from rsir_scale.randomness import Purpose, uniforms

WINDOW = 2  # Pincus' m; the paper names none
Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class SequenceEntropy:
    """Approximate entropy of sequences, one by one.

    Attributes:
        defined: how many are longer than m, so that it is defined.
        mean: ApEn, mean over these.
        reciprocal: mean of 1 / ApEn, which the paper plots; None where it is infinite for someone, whose ApEn is 0.
        excess: mean of ApEn less that of a sequence of the same length in which nothing repeats.
        repeating: share of them in which some window of m items repeats; the others' excess is 0.
    """

    defined: int
    mean: float
    reciprocal: float | None
    excess: float
    repeating: float


def approximate_entropy(sequences: Sequences, *, m: int = WINDOW) -> Values:
    """Return ApEn(m, r=0) of each sequence that is longer than m, in their order.

    Args:
        sequences: any number.
        m: items of a window, at least 1.
    """
    _require_window(m)
    long = sequences.select(np.flatnonzero(sequences.lengths > m))
    return _phi(long, m) - _phi(long, m + 1)


def without_repeats(lengths: npt.ArrayLike, *, m: int = WINDOW) -> Values:
    """Return the ApEn of sequences of these lengths, above m, in which no window repeats."""
    count = np.asarray(lengths, dtype=np.float64) - m
    return np.asarray(np.log(count / (count + 1.0)))


def sequence_entropy(sequences: Sequences, *, m: int = WINDOW) -> SequenceEntropy:
    """Summarise approximate entropy over sequences."""
    found = approximate_entropy(sequences, m=m)
    if not len(found):
        return SequenceEntropy(defined=0, mean=0.0, reciprocal=None, excess=0.0, repeating=0.0)
    long = sequences.select(np.flatnonzero(sequences.lengths > m))
    repeats = _repeats(long, m)
    above = np.where(repeats, found - without_repeats(long.lengths, m=m), 0.0)
    return SequenceEntropy(
        defined=len(found),
        mean=float(found.mean()),
        reciprocal=None if np.isclose(found, 0.0, atol=1e-12).any() else float((1.0 / found).mean()),
        excess=float(above.mean()),
        repeating=float(repeats.mean()),
    )


def corpus_entropy(sequences: Sequences, *, m: int = WINDOW, windows: int | None = None, seed: int = 0) -> float:
    """Return H_(m+1) - H_m over the windows of m + 1 items of all sequences; 0 where there is none.

    H_m is over their first m items, so that both count the same windows.

    Args:
        sequences: any number.
        m: items of the condition, at least 1.
        windows: how many windows to draw, by sequence id and position; None or more than there are: all.
        seed: of the draw.
    """
    _require_window(m)
    start = _starts(sequences, m + 1)
    if windows is not None and windows < len(start):
        row = np.searchsorted(sequences.offsets, start, side="right") - 1
        drawn = uniforms(seed, Purpose.WINDOW, sequences.ids[row], start - sequences.offsets[row])
        start = start[np.argsort(drawn, kind="stable")[:windows]]
    whole, given = _named(sequences.items, start, m + 1), _named(sequences.items, start, m)
    return _shannon(whole) - _shannon(given)


def window_count(sequences: Sequences, *, m: int = WINDOW) -> int:
    """Return how many windows of m + 1 items there are."""
    return int(np.maximum(sequences.lengths - m, 0).sum())


def _phi(sequences: Sequences, m: int) -> Values:
    """Phi^m of each sequence, each of at least m items."""
    start, row, count = _counted(sequences, m)
    windows = np.bincount(row, minlength=len(sequences)).astype(np.float64)
    logs = np.log(count) - np.log(windows[row])
    return np.bincount(row, weights=logs, minlength=len(sequences)) / windows if len(start) else np.empty(0)


def _repeats(sequences: Sequences, m: int) -> npt.NDArray[np.bool_]:
    _, row, count = _counted(sequences, m)
    return np.bincount(row, weights=count > 1, minlength=len(sequences)) > 0


def _counted(sequences: Sequences, m: int) -> tuple[Int64Array, Int64Array, Int64Array]:
    """Of each window of m items: where it starts, in which sequence, and how many of that sequence's are like it."""
    start = _starts(sequences, m)
    row = np.searchsorted(sequences.offsets, start, side="right") - 1
    name = _named(sequences.items, start, m)
    own = _numbered(row * (int(name.max(initial=0)) + 1) + name)
    return start, row, np.bincount(own)[own] if len(own) else own


def _starts(sequences: Sequences, m: int) -> Int64Array:
    """Positions in `items` from which m items of one sequence follow."""
    left = np.repeat(sequences.offsets[1:], sequences.lengths) - np.arange(len(sequences.items))
    return np.flatnonzero(left >= m)


def _named(items: npt.NDArray[np.int32], start: Int64Array, m: int) -> Int64Array:
    """A number for each window: equal ones have equal numbers, from 0 on without gaps."""
    name = np.zeros(len(start), dtype=np.int64)
    base = int(items.max(initial=0)) + 1
    for step in range(m):
        name = _numbered(name * base + items[start + step])
    return name


def _numbered(values: Int64Array) -> Int64Array:
    return np.unique(values, return_inverse=True)[1].astype(np.int64)


def _shannon(name: Int64Array) -> float:
    count = np.bincount(name).astype(np.float64)
    if not len(count):
        return 0.0
    share = count / count.sum()
    return float(-(share * np.log(share)).sum())


def _require_window(m: int) -> None:
    if m < 1:
        raise ValueError(f"m={m} is not a window of items: give 1 or more")
