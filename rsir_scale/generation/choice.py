"""Choosing the next item: greedily, or by sampling among the best of the pool.

One uniform a row decides, by inversion of the cumulative distribution over candidates in a fixed order (best first,
equal scores by item index), so the choice depends on scores and identity alone.

Shapes: B rows, P candidates, R own items.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from rsir_scale.ranking.base import SearchResult
from rsir_scale.ranking.exact import best_first

_MINUS_INFINITY = float("-inf")


def own_pool(own_BR: Tensor, own_score_BR: Tensor, allowed_BR: Tensor, *, top_candidates: int) -> tuple[Tensor, Tensor]:
    """Order the allowed own items best first and keep the top ones; 0 with score -inf where there are fewer."""
    score_BR, item_BR = best_first(own_score_BR.masked_fill(~allowed_BR, _MINUS_INFINITY), own_BR)
    item_BR = item_BR.masked_fill(score_BR == _MINUS_INFINITY, 0)
    return item_BR[:, :top_candidates], score_BR[:, :top_candidates]


def hybrid_pool(
    result: SearchResult, own_BR: Tensor, allowed_BR: Tensor, explore_B: Tensor, *, top_candidates: int
) -> tuple[Tensor, Tensor]:
    """Join both pools: own items for rows that exploit, the catalogue's best for rows that explore (paper Sec. 3.2.1).

    Returns:
        Items and scores `[B, P]`, best first, padded with 0 and -inf.
    """
    item_BP, score_BP = own_pool(own_BR, result.own_score_BR, allowed_BR, top_candidates=top_candidates)
    width = max(item_BP.shape[1], result.candidate_BP.shape[1])
    item_BP = torch.where(explore_B[:, None], _widen(result.candidate_BP, width, 0), _widen(item_BP, width, 0))
    explored_score_BP = _widen(result.candidate_score_BP, width, _MINUS_INFINITY)
    return item_BP, torch.where(explore_B[:, None], explored_score_BP, _widen(score_BP, width, _MINUS_INFINITY))


def choose(item_BP: Tensor, score_BP: Tensor, uniform_B: Tensor, *, greedy: bool, temperature: float) -> Tensor:
    """Choose one item for each row, 0 where the pool is empty.

    Args:
        item_BP: candidates, best first, padded with 0.
        score_BP: their scores, -inf at padding.
        uniform_B: float64 draws in [0, 1).
        greedy: take the best candidate; the draw is not used.
        temperature: divides the scores before the softmax.
    """
    if greedy:
        return item_BP[:, 0]
    weight_BP = ((score_BP - score_BP[:, :1]).double() / temperature).exp().nan_to_num_(0.0)
    cumulative_BP = weight_BP.cumsum(1)
    threshold_B1 = uniform_B[:, None] * cumulative_BP[:, -1:]
    column_B = (cumulative_BP <= threshold_B1).sum(1).clamp_(max=item_BP.shape[1] - 1)
    return item_BP.gather(1, column_B[:, None])[:, 0]


def _widen(values_BP: Tensor, width: int, fill: float) -> Tensor:
    return F.pad(values_BP, (0, width - values_BP.shape[1]), value=fill)
