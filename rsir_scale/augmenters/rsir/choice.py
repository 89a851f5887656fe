"""Choosing the next item: greedily, or by sampling among the best of the pool.

The pool is the catalogue for rows that explore, the source's own items for rows that exploit (paper Sec. 3.2.1). One
uniform a row decides, by inversion of the cumulative distribution over candidates in a fixed order (best first, equal
scores by item index), so the choice depends on scores and identity alone.

Shapes: B rows, U distinct contexts, P candidates, R own items.
"""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Pool:
    """Candidates of each context.

    Attributes:
        item_UP: best first, equal scores by item index; 0 where there are fewer.
        score_UP: their float64 scores, -inf where the item is 0.
    """

    item_UP: Tensor
    score_UP: Tensor


def own_pool(own_UR: Tensor, score_UR: Tensor, free_UR: Tensor, *, top: int) -> Pool:
    """Return the best own items that may be chosen.

    Args:
        own_UR: distinct items by rising index, with zeros anywhere.
        score_UR: their scores.
        free_UR: which of them may be chosen; no zero may.
        top: how many to keep.
    """
    score_UR, order_UR = score_UR.masked_fill(~free_UR, float("-inf")).sort(dim=1, descending=True, stable=True)
    score_UP = score_UR[:, :top]
    return Pool(own_UR.gather(1, order_UR[:, :top]).masked_fill(score_UP == float("-inf"), 0), score_UP)


def choose(pool: Pool, context_B: Tensor, uniform_B: Tensor, *, greedy: bool, temperature: float) -> Tensor:
    """Choose one item for each row, 0 where its pool is empty.

    Args:
        pool: the candidates of each context.
        context_B: which context each row is at.
        uniform_B: float64 draws in [0, 1).
        greedy: take the best candidate; the draw is not used.
        temperature: divides the scores before the softmax.
    """
    if greedy:
        return pool.item_UP[:, 0][context_B]
    # An empty pool weighs nothing but NaN, which no comparison holds for: its first item is taken, and is 0.
    weight_UP = ((pool.score_UP - pool.score_UP[:, :1]) / temperature).exp_()
    cumulative_BP = weight_UP.cumsum(1)[context_B]
    threshold_B1 = uniform_B[:, None] * cumulative_BP[:, -1:]
    column_B = (cumulative_BP <= threshold_B1).sum(1).clamp_(max=pool.item_UP.shape[1] - 1)
    return pool.item_UP[context_B, column_B]
