"""Controls: what more rows alone do, without anything new in them.

Comes in: sources. Goes out: the same sequences again (`copies`), without some of their items (`thinned`), or parts of
them (`slide_window`). What RSIR gains over these is not the gain of more training data, of less context, or of more
starts. Rows repeat what is there on purpose, so none of them is dropped as a duplicate.
"""

import numpy as np
from pydantic import Field

from rsir_scale.augmenters.base import Augmenter
from rsir_scale.augmenters.trials import Identity, all_trials, written_from
from rsir_scale.augmenters.written import LEAST_ITEMS, Written
from rsir_scale.config.fitting import PositiveInt, Section, Size
from rsir_scale.data.sequences import Sequences, offsets_of
from rsir_scale.randomness import Purpose

MOST_LEFT_OUT = 0.5


class Copies(Augmenter):
    """Each source again, m times."""

    keeps_copies = True

    def write(self, sources: Sequences) -> Written:
        """See `copied`."""
        return copied(sources, trials=self.trials)


class Thinned(Augmenter):
    """Each source m times again, without up to half of its items."""

    keeps_copies = True

    def write(self, sources: Sequences) -> Written:
        """See `thinned`."""
        return thinned(sources, trials=self.trials, identity=(self.run.config.seed, self.iteration))


class SlideWindowOptions(Section):
    """Options of `slide_window`."""

    window: Size | None = Field(
        default=None, ge=LEAST_ITEMS, description="items of the longest window; none: data.max_length + 1"
    )
    stride: PositiveInt = Field(default=1, description="items by which each window ends before the one after it")


class SlideWindow(Augmenter):
    """The latest windows of each source, m of them at the most."""

    Options = SlideWindowOptions
    keeps_copies = True

    def write(self, sources: Sequences) -> Written:
        """See `slid`."""
        # What an update reads of a sequence: the longest context and its target.
        window = self.options.window or self.run.config.data.max_length + 1
        return slid(sources, trials=self.trials, window=window, stride=self.options.stride)


def copied(sources: Sequences, *, trials: int) -> Written:
    """Write each source `trials` times; one of fewer than 2 items leaves no row."""
    tried = all_trials(sources, trials)
    return written_from(tried, tried.copies, keep_copies=True)


def thinned(sources: Sequences, *, trials: int, identity: Identity) -> Written:
    """Write each source `trials` times without some of its items, their order kept.

    Each trial draws a share, evenly from 0 to a half, and each item is left out with that probability. A trial that
    leaves out nothing writes the source again; one that keeps fewer than 2 items leaves no row.
    """
    tried = all_trials(sources, trials)
    share = MOST_LEFT_OUT * tried.draws(identity, Purpose.AUGMENT)
    stays = tried.item_draws(identity, Purpose.COIN) >= share[tried.row]
    lengths = np.bincount(tried.row[stays], minlength=len(tried.copies))
    changed = Sequences(tried.copies.ids, offsets_of(lengths), tried.copies.items[stays])
    return written_from(tried, changed, keep_copies=True)


def slid(sources: Sequences, *, trials: int, window: int, stride: int) -> Written:
    """Write the latest `trials` windows of each source that are not the source itself.

    Windows end `stride` items apart, the latest at the end of the source, or `stride` before it where the source fits
    into the window. Each reaches back over `window` items, or to the first. One of fewer than 2 items leaves no row.

    Args:
        sources: N sequences of any length.
        trials: m.
        window: 2 or more.
        stride: 1 or more.
    """
    tried = all_trials(sources, trials)
    lengths = tried.copies.lengths
    latest = np.where(lengths > window, lengths, lengths - stride)
    end = np.maximum(latest - stride * tried.trial, 0)
    inside = (tried.position < end[tried.row]) & (tried.position >= (end - window)[tried.row])
    changed = Sequences(tried.copies.ids, offsets_of(np.minimum(end, window)), tried.copies.items[inside])
    return written_from(tried, changed)
