"""Reordering: each source again, a random window of its items shuffled.

Comes in: sources. Goes out: rows with the items of their sources, in another order. The window has a fixed share of a
source's items and 2 at the least: CoSeRec's own, which may be of one item or none, would leave most short sequences as
they are.

Source: Liu et al., "Contrastive Self-supervised Sequential Recommendation with Robust Augmentation", 2021 (CoSeRec).
"""

from dataclasses import replace

import numpy as np
from pydantic import Field

from rsir_scale.augmenters.base import Augmenter
from rsir_scale.augmenters.trials import ROUNDING, Identity, all_trials, written_from
from rsir_scale.augmenters.written import Written
from rsir_scale.config.fitting import PositiveShare, Section
from rsir_scale.data.sequences import Sequences
from rsir_scale.randomness import Purpose

LEAST_WINDOW = 2


class ReorderingOptions(Section):
    """Options of `reordering`."""

    rate: PositiveShare = Field(
        default=0.2, description="beta: share of a source's items that are shuffled, in one window; 2 items at least"
    )


class Reordering(Augmenter):
    """Shuffles a window of each source."""

    Options = ReorderingOptions

    def write(self, sources: Sequences) -> Written:
        """See `reordered`."""
        identity = (self.run.config.seed, self.iteration)
        return reordered(sources, trials=self.trials, rate=self.options.rate, identity=identity)


def reordered(sources: Sequences, *, trials: int, rate: float, identity: Identity) -> Written:
    """Write each source `trials` times, each time with another window shuffled.

    A trial leaves no row where the source has fewer than 2 items, or where the shuffled items stand as they stood.

    Args:
        sources: N sequences of any length.
        trials: m.
        rate: beta, in (0, 1]; the window has max(2, ceil(beta n)) of a source's n items.
        identity: seed and iteration.
    """
    tried = all_trials(sources, trials)
    lengths, row, position = tried.copies.lengths, tried.row, tried.position
    window = np.minimum(lengths, np.maximum(LEAST_WINDOW, np.ceil(rate * lengths - ROUNDING).astype(np.int64)))
    start = (tried.draws(identity, Purpose.WINDOW) * (lengths - window + 1)).astype(np.int64)
    inside = (position >= start[row]) & (position < (start + window)[row])
    # Items of the window share a place and are told apart by their draws; all others keep theirs.
    order = np.lexsort((tried.item_draws(identity, Purpose.ORDER), np.where(inside, start[row], position), row))
    return written_from(tried, replace(tried.copies, items=tried.copies.items[order]))
