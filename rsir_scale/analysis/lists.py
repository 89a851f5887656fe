"""What top-n lists are like beside how accurate they are: how much of the catalogue, how popular, how surprising.

Comes in: lists of items, and how often each item occurs in the training data. Goes out: figures by name. A new figure
is one function and one line of `FIGURES`. Only what users did before counts as popularity; held-out items are read as
targets alone. Definitions are those of RecTools 0.19, and of RecBole 1.2 for Gini and coverage; a test compares them.

Shapes: N lists, P places of a list, V items.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from rsir_scale.data.sequences import Int64Array, Sequences

Bools = npt.NDArray[np.bool_]
Values = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Lists:
    """Recommendations, and what they are held against.

    Attributes:
        item_NP: best first, item indices 1..V; 0 where a list has no more.
        target_N: each list's held-out item, 1..V; 0 is none.
        interactions_V: how often each item was interacted with in training; entry j belongs to item j + 1.
        users_V: by how many users.
        users: who interacted with anything in training, at least 1.
    """

    item_NP: Int64Array
    target_N: Int64Array
    interactions_V: Int64Array
    users_V: Int64Array
    users: int

    @property
    def there_NP(self) -> Bools:  # noqa: N802 - a shape
        """Whether a place holds an item."""
        return self.item_NP > 0

    def of_items(self, value_V: npt.ArrayLike) -> Values:
        """Look a value of each item up for each place; 0 where a list has no more."""
        values = np.concatenate([[0.0], np.asarray(value_V, dtype=np.float64)])
        return np.asarray(values[self.item_NP])

    def first(self, places: int) -> "Lists":
        """The same lists, cut to their first places."""
        return replace(self, item_NP=self.item_NP[:, :places])

    def mean(self, value_NP: Values) -> float:
        """The mean over lists of the mean over each list's places; lists without an item do not count."""
        length_N = self.there_NP.sum(1)
        listed = length_N > 0
        if not listed.any():
            return 0.0
        total_N = np.where(self.there_NP, value_NP, 0.0).sum(1)
        return float((total_N[listed] / length_N[listed]).mean())


def lists_of(item_NP: Int64Array, target_N: npt.ArrayLike, training: Sequences, *, item_count: int) -> Lists:
    """Hold lists against the training data.

    Args:
        item_NP: as of `Lists`.
        target_N: as of `Lists`.
        training: one sequence a user, without held-out items.
        item_count: V.
    """
    user = np.repeat(np.arange(len(training)), training.lengths)
    pairs = np.unique(np.stack([user, training.items.astype(np.int64)]), axis=1)
    return Lists(
        item_NP=item_NP,
        target_N=np.asarray(target_N, dtype=np.int64),
        interactions_V=np.bincount(training.items, minlength=item_count + 1)[1:],
        users_V=np.bincount(pairs[1], minlength=item_count + 1)[1:],
        users=max(1, int((training.lengths > 0).sum())),
    )


def coverage(lists: Lists) -> float:
    """The share of the catalogue that is in some list."""
    return len(np.unique(lists.item_NP[lists.there_NP])) / len(lists.interactions_V)


def gini(lists: Lists) -> float:
    """How unevenly lists share out the catalogue: 0 where each item is listed as often, near 1 where one alone is.

    Items that are in no list count with 0.
    """
    count_V = np.sort(np.bincount(lists.item_NP[lists.there_NP], minlength=len(lists.interactions_V) + 1)[1:])
    items, total = len(count_V), int(count_V.sum())
    place_V = np.arange(1, items + 1)
    return float(((2 * place_V - items - 1) * count_V).sum() / (items * total)) if total else 0.0


def novelty(lists: Lists) -> float:
    """Mean self-information, -log2 of the share of users who know an item, in bits; an unseen one counts as one user's.

    Source: mean inverse user frequency, Zhou et al. (PNAS 2010).
    """
    return lists.mean(lists.of_items(-np.log2(np.maximum(lists.users_V, 1) / lists.users)))


def popularity(lists: Lists) -> float:
    """Mean number of training interactions with an item that is listed."""
    return lists.mean(lists.of_items(lists.interactions_V))


def serendipity(lists: Lists) -> float:
    """How much better than by popularity a hit is placed: a mean over the places of each list, in 0..1.

    A place counts where it holds the target: (V + 1 - place) / V less the same of the item's popularity, which is its
    place among the distinct counts of interactions, 1 for the most popular; at least 0. An item without interactions
    has no popularity, and nothing is taken off.
    Source: RecTools 0.19, `Serendipity`.
    """
    items = len(lists.interactions_V)
    counts, which_V = np.unique(lists.interactions_V, return_inverse=True)
    by_popularity_V = np.where(lists.interactions_V > 0, (items + 1 - (len(counts) - which_V)) / items, 0.0)
    by_place_P = (items - np.arange(lists.item_NP.shape[1])) / items
    hit_NP = (lists.item_NP == lists.target_N[:, None]) & lists.there_NP
    return lists.mean(np.where(hit_NP, np.maximum(by_place_P - lists.of_items(by_popularity_V), 0.0), 0.0))


FIGURES: Mapping[str, Callable[[Lists], float]] = MappingProxyType(
    {
        "coverage": coverage,
        "gini": gini,
        "novelty": novelty,
        "popularity": popularity,
        "serendipity": serendipity,
    }
)


def describe(lists: Lists) -> dict[str, float]:
    """All figures of some lists, by name and length, such as `coverage@10`."""
    places = lists.item_NP.shape[1]
    return {f"{name}@{places}": figure(lists) for name, figure in FIGURES.items()}
