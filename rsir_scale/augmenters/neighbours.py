"""Which item resembles each item most: by how they occur together, by a model's item vectors, or by either.

Comes in: training sequences, and item vectors where they are asked for. Goes out: one neighbour for each item that
occurs in them. Items that occur in no training sequence have no neighbour and are none. Pairs are scored some items at
a time, so that memory is bounded by a block of pairs and not by all of them; vectors take a time that grows with the
square of the catalogue. Equal scores are decided for the smaller item.

Shapes: V items of the catalogue, K items that occur, B of them at once, D width.

Source: Liu et al., "Contrastive Self-supervised Sequential Recommendation with Robust Augmentation", 2021 (CoSeRec).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array, diags_array

from rsir_scale.data.sequences import Float64Array, Int64Array, Sequences

_PAIRS_AT_ONCE = 1 << 20
NONE = 0


@dataclass(frozen=True, eq=False)
class Nearest:
    """The most similar item of each of K items, by one measure.

    Attributes:
        item_K: int64, 1..V; 0 where an item resembles none.
        score_K: float64, 0 for the least of all pairs' scores, 1 for the greatest; -inf without an item.
    """

    item_K: Int64Array
    score_K: Float64Array


def occurring(sequences: Sequences) -> Int64Array:
    """int64[K], the items of some sequences, ascending."""
    return np.unique(sequences.items).astype(np.int64)


def by_occurrence(sequences: Sequences, *, pairs_at_once: int = _PAIRS_AT_ONCE) -> Nearest:
    """Find for each item the one that occurs with it most.

    Two items i, j have the sum of 1 / ln(1 + |u|) over the sequences u that hold both, divided by sqrt(N_i N_j): |u| is
    the number of distinct items of u, N_i that of the sequences with i. Items that never meet have no pair.

    Args:
        sequences: training sequences.
        pairs_at_once: pairs held in memory, about; an item's own pairs are never parted.
    """
    known_K = occurring(sequences)
    holds_KN = _holders(sequences, known_K)
    distinct_N = holds_KN.sum(axis=0)
    weighted_NK = diags_array(1.0 / np.log1p(np.maximum(distinct_N, 1))) @ holds_KN.T.tocsr()
    holders_K = holds_KN.sum(axis=1)
    best_K, score_K = np.full(len(known_K), NONE), np.full(len(known_K), -np.inf)
    low, high = np.inf, -np.inf
    for first, last in _blocks(holds_KN @ distinct_N, pairs_at_once):
        pairs = (holds_KN[first:last] @ weighted_NK).tocsr()
        row, column = np.repeat(np.arange(first, last), np.diff(pairs.indptr)), pairs.indices.astype(np.int64)
        score = pairs.data / np.sqrt(holders_K[row] * holders_K[column])
        apart = row != column
        row, column, score = row[apart], column[apart], score[apart]
        if len(score):
            low, high = min(low, score.min()), max(high, score.max())
        order = np.lexsort((column, -score, row))
        found, place = np.unique(row[order], return_index=True)
        best_K[found], score_K[found] = known_K[column[order][place]], score[order][place]
    return Nearest(best_K, _scaled(score_K, low, high))


def by_vectors(known_K: Int64Array, items_VD: Float64Array, *, pairs_at_once: int = _PAIRS_AT_ONCE) -> Nearest:
    """Find for each item the one whose vector has the greatest inner product with its own.

    Args:
        known_K: the items that occur, ascending.
        items_VD: `[V + 1, D]`, finite but for row 0.
        pairs_at_once: pairs held in memory, about.
    """
    vectors_KD, count = items_VD[known_K], len(known_K)
    best_K, score_K = np.full(count, NONE), np.full(count, -np.inf)
    low, high = np.inf, -np.inf
    at_once = max(1, pairs_at_once // max(1, count))
    for first in range(0, count if count > 1 else 0, at_once):
        score_BK = vectors_KD[first : first + at_once] @ vectors_KD.T
        row_B = np.arange(len(score_BK))
        own = row_B, first + row_B
        score_BK[own] = np.inf
        low = min(low, score_BK.min())
        score_BK[own] = -np.inf
        best_B = score_BK.argmax(1)
        best_K[first + row_B], score_K[first + row_B] = known_K[best_B], score_BK[row_B, best_B]
        high = max(high, score_K[first + row_B].max())
    return Nearest(best_K, _scaled(score_K, low, high))


def larger(one: Nearest, other: Nearest) -> Nearest:
    """Take for each item the neighbour with the larger score; of equals, the first measure's."""
    first = one.score_K >= other.score_K
    return Nearest(np.where(first, one.item_K, other.item_K), np.where(first, one.score_K, other.score_K))


def _holders(sequences: Sequences, known_K: Int64Array) -> csr_array:
    """1 for each item and each sequence that holds it, `[K, N]`, sequences ascending."""
    row = np.repeat(np.arange(len(sequences)), sequences.lengths)
    column = np.searchsorted(known_K, sequences.items)
    pair = np.unique(column * len(sequences) + row)
    column, row = np.divmod(pair, len(sequences))
    return csr_array((np.ones(len(pair)), (column, row)), shape=(len(known_K), len(sequences)))


def _blocks(cost_K: npt.NDArray[np.float64], budget: int) -> Iterator[tuple[int, int]]:
    """Cut items into consecutive blocks that cost about as much as the budget, each of one item at the least."""
    spent = np.cumsum(cost_K)
    first = 0
    while first < len(cost_K):
        before = spent[first - 1] if first else 0.0
        last = max(first + 1, int(np.searchsorted(spent, before + budget, side="right")))
        yield first, last
        first = last


def _scaled(score_K: Float64Array, low: float, high: float) -> Float64Array:
    """Scores from 0 for the least to 1 for the greatest; 1 where all are equal."""
    return (score_K - low) / (high - low) if high > low else np.where(np.isfinite(score_K), 1.0, score_K)
