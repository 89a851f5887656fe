"""The figures of a dataset, gathered batch by batch: pairs, density, lengths, repeats, items seen in training."""

from typing import TypedDict

import numpy as np

from rsir_scale.data.sequences import Sequences


class Facts(TypedDict):
    """The fields of `DatasetMeta` that are counted from the sequences."""

    interactions: int
    training_pairs: int
    training_items: int
    density: float
    min_length: int
    mean_length: float
    max_length: int
    repeat_share: float


class Tally:
    """Counts over the users added so far; memory is one bit for each item of the catalogue."""

    def __init__(self, items: int) -> None:
        self._seen = np.zeros(items + 1, dtype=np.bool_)
        self._users = self._interactions = self._pairs = self._trained = self._repeats = self._longest = 0
        self._shortest: int | None = None

    def add(self, whole: Sequences, training: Sequences) -> None:
        """Count the next users: their whole (truncated) and their training sequences, row for row."""
        if not len(whole):
            return
        lengths = whole.lengths
        self._users += len(whole)
        self._interactions += len(whole.items)
        self._shortest = min(int(lengths.min()), self._shortest or int(lengths.min()))
        self._longest = max(int(lengths.max()), self._longest)
        self._trained += len(training.items)
        self._pairs += int((training.lengths - 1).sum())
        self._repeats += repeats(training)
        self._seen[training.items] = True

    @property
    def interactions(self) -> int:
        """Of the users added so far, held-out ones included."""
        return self._interactions

    def facts(self) -> Facts:
        """The figures; lengths are of whole truncated sequences, density is pairs over users times items."""
        return Facts(
            interactions=self._interactions,
            training_pairs=self._pairs,
            training_items=int(self._seen.sum()),
            density=self._pairs / (self._users * (len(self._seen) - 1)),
            min_length=self._shortest or 0,
            mean_length=self._interactions / self._users,
            max_length=self._longest,
            repeat_share=self._repeats / self._trained,
        )


def repeats(sequences: Sequences) -> int:
    """Count the interactions that repeat an earlier item of their own sequence."""
    rows = np.repeat(np.arange(len(sequences), dtype=np.int64), sequences.lengths)
    # Sorted by hand: np.unique hashes, five times slower on millions of keys.
    keys = np.sort((rows << 32) | sequences.items)
    return int((keys[1:] == keys[:-1]).sum())
