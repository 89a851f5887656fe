"""Every trial of some sources at once: the copies that an augmenter changes, their draws, and the rows that come of it.

Comes in: N sources and m. Goes out: N m copies to change as whole arrays, and, from the changed copies, what an
augmenter returns. What is changed is left to the augmenter. Draws are keyed by source, trial and position, so that
whole arrays give what one sequence at a time would give.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from rsir_scale.augmenters.written import LEAST_ITEMS, Written
from rsir_scale.data.sequences import Float64Array, Int64Array, Sequences
from rsir_scale.randomness import Purpose, uniforms

TOO_SHORT = "too_short"
COPY = "copy"
ROUNDING = 1e-9  # .07 times 100 is a little more than 7, and .7 times 90 a little less than 63
Identity = tuple[int, int]  # seed and iteration


@dataclass(frozen=True, eq=False)
class Trials:
    """N sources, m copies of each, ordered by (source, trial).

    Attributes:
        copies: N m sequences, each with the id of its source.
        per_source: m.
    """

    copies: Sequences
    per_source: int

    @cached_property
    def source(self) -> Int64Array:
        """int64[N m], the position of each copy's source, 0..N-1."""
        return np.arange(len(self.copies)) // self.per_source

    @cached_property
    def trial(self) -> Int64Array:
        """int64[N m], 0..m-1."""
        return np.arange(len(self.copies)) % self.per_source

    @cached_property
    def row(self) -> Int64Array:
        """int64, for each item of `copies`, the copy that it stands in."""
        return np.repeat(np.arange(len(self.copies)), self.copies.lengths)

    @cached_property
    def position(self) -> Int64Array:
        """int64, for each item of `copies`, its position there, from 0."""
        return positions_of(self.copies)

    def draws(self, identity: Identity, purpose: Purpose) -> Float64Array:
        """One number in [0, 1) for each copy."""
        return uniforms(*identity, self.copies.ids, self.trial, purpose)

    def item_draws(self, identity: Identity, purpose: Purpose) -> Float64Array:
        """One number in [0, 1) for each item of `copies`."""
        return uniforms(*identity, self.copies.ids[self.row], self.trial[self.row], self.position, purpose)


def all_trials(sources: Sequences, per_source: int) -> Trials:
    """Copy each source as often as it has trials."""
    return Trials(sources.select(np.repeat(np.arange(len(sources)), per_source)), per_source)


def written_from(trials: Trials, changed: Sequences, *, keep_copies: bool = False) -> Written:
    """Make rows of changed copies, and count the trials that leave none.

    A trial stops as `too_short` where fewer than 2 items are left, and as `copy` where nothing was changed.

    Args:
        trials: the copies as they were.
        changed: the same copies, in their order, with other items.
        keep_copies: let unchanged copies be rows, too.
    """
    prefix = _shared_prefix(changed, trials.copies)
    long_enough = changed.lengths >= LEAST_ITEMS
    unchanged = (prefix == changed.lengths) & (prefix == trials.copies.lengths)
    stays = long_enough & (keep_copies | ~unchanged)
    kept = np.flatnonzero(stays)
    rows = changed.select(kept)
    return Written(
        source=trials.source[kept],
        trial=trials.trial[kept],
        offsets=rows.offsets,
        items=rows.items,
        stops={TOO_SHORT: int((~long_enough).sum()), COPY: int((long_enough & ~stays).sum())},
        start_length=prefix[kept],
    )


def positions_of(sequences: Sequences) -> Int64Array:
    """int64, each item's position in its sequence, from 0."""
    return np.arange(len(sequences.items)) - np.repeat(sequences.offsets[:-1], sequences.lengths)


def _shared_prefix(changed: Sequences, copies: Sequences) -> Int64Array:
    """int64[R], how many leading items each sequence has in common with the one it was changed from."""
    row = np.repeat(np.arange(len(changed)), changed.lengths)
    position = positions_of(changed)
    within = position < copies.lengths[row]
    differs = np.ones(len(row), dtype=np.bool_)
    differs[within] = changed.items[within] != copies.items[(copies.offsets[row] + position)[within]]
    prefix = changed.lengths.copy()
    np.minimum.at(prefix, row[differs], position[differs])
    return prefix
