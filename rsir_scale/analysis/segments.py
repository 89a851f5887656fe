"""For whom a difference holds: users by the length of their history, and how popular the item is that they took next.

Comes in: of each user the length of the training sequence, and how often the test item occurs in training. Goes out:
named groups. Bounds are thirds of the users, found on this dataset; a test item that training never saw is `target/new`
and in none of the thirds, since a model that learns one vector an item cannot have learned that one.

Shapes: U users.
"""

import numpy as np
import numpy.typing as npt

from rsir_scale.data.dataset import PreparedDataset

Counts_U = npt.NDArray[np.int64]
Mask_U = npt.NDArray[np.bool_]
LENGTHS = ("length/short", "length/middle", "length/long")
TARGETS = ("target/tail", "target/middle", "target/head")
NEW = "target/new"


def segments(lengths_U: Counts_U, occurrences_U: Counts_U) -> dict[str, Mask_U]:
    """Return the groups by name, each a mask over the users.

    Args:
        lengths_U: items of each user's training sequence.
        occurrences_U: occurrences of each user's test item in all training sequences.
    """
    known_U = occurrences_U > 0
    everyone_U = np.ones(len(lengths_U), dtype=np.bool_)
    return {
        **_thirds(LENGTHS, lengths_U, everyone_U),
        **_thirds(TARGETS, occurrences_U, known_U),
        NEW: ~known_U,
    }


def segments_of(dataset: PreparedDataset, ids_U: npt.NDArray[np.int64]) -> dict[str, Mask_U]:
    """The groups of the users with these sequence ids; each has a test item. Raises InputError."""
    training = dataset.training_sequences()
    occurrences_V = np.bincount(training.items, minlength=dataset.meta.items + 1)
    return segments(training.lengths[ids_U], occurrences_V[dataset.held_out().test[ids_U]])


def _thirds(names: tuple[str, ...], values_U: Counts_U, among_U: Mask_U) -> dict[str, Mask_U]:
    """Low, middle and high values; equal values stay together."""
    first, second = np.quantile(values_U[among_U], [1 / 3, 2 / 3]) if among_U.any() else (0.0, 0.0)
    low_U, high_U = among_U & (values_U <= first), among_U & (values_U > second)
    return dict(zip(names, (low_U, among_U & ~low_U & ~high_U, high_U), strict=True))
