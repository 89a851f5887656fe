"""Choosing the next item: greedily, or by sampling among the best of the pool.

One uniform a row decides, by inversion of the cumulative distribution over candidates in a fixed order (best first,
equal scores by item index), so the choice depends on scores and identity alone.

Shapes: B rows, P candidates.
"""

from torch import Tensor


def choose(item_BP: Tensor, score_BP: Tensor, uniform_B: Tensor, *, greedy: bool, temperature: float) -> Tensor:
    """Choose one item for each row, 0 where the pool is empty.

    Args:
        item_BP: candidates, best first, padded with 0.
        score_BP: their float64 scores, -inf at padding.
        uniform_B: float64 draws in [0, 1).
        greedy: take the best candidate; the draw is not used.
        temperature: divides the scores before the softmax.
    """
    if greedy:
        return item_BP[:, 0]
    weight_BP = ((score_BP - score_BP[:, :1]) / temperature).exp_().nan_to_num_(0.0)
    cumulative_BP = weight_BP.cumsum(1)
    threshold_B1 = uniform_B[:, None] * cumulative_BP[:, -1:]
    column_B = (cumulative_BP <= threshold_B1).sum(1).clamp_(max=item_BP.shape[1] - 1)
    return item_BP.gather(1, column_B[:, None])[:, 0]
