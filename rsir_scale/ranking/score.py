"""The exact score of an item, defined once: the float64 inner product of query and item, summed in a fixed order.

Every search may estimate in lower precision, but decides by these scores, so that all of them agree to the last bit on
every machine: products of two float32 numbers are exact in float64, and eight partial sums are added in one order. Lane
l sums the products at depths l, l + 8, …; then lanes pair up. `kernel/portable.h` holds the same in C++.

Shapes: N pairs of a query and an item, D width, B rows, R items of a row.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

_LANES = 8
_PAIRS_PER_BLOCK = 65_536


def exact_scores(query_ND: Tensor, item_ND: Tensor) -> Tensor:
    """Return the exact score of each pair, float64 `[N]`."""
    blocks = [
        _lane_sums(query_ND[start : start + _PAIRS_PER_BLOCK], item_ND[start : start + _PAIRS_PER_BLOCK])
        for start in range(0, max(1, len(query_ND)), _PAIRS_PER_BLOCK)
    ]
    return blocks[0] if len(blocks) == 1 else torch.cat(blocks)


def exact_own_scores(query_BD: Tensor, items_VD: Tensor, own_BR: Tensor) -> Tensor:
    """Return the exact score of each row's own items, float64 `[B, R]`; -inf at padding."""
    score_BR = torch.full(own_BR.shape, float("-inf"), dtype=torch.float64, device=query_BD.device)
    row_N, column_N = (own_BR > 0).nonzero(as_tuple=True)
    score_BR[row_N, column_N] = exact_scores(query_BD[row_N], items_VD[own_BR[row_N, column_N]])
    return score_BR


def rounding_band(query_BD: Tensor, longest: float) -> Tensor:
    """How far a score in the queries' precision may be from the exact one; `longest` is the greatest item norm."""
    # A sum of D products, which all together are at most |query| · |item|.
    eps = (2 * query_BD.shape[1] + 8) * torch.finfo(query_BD.dtype).eps
    norm_B: Tensor = query_BD.double().norm(dim=1)
    return norm_B * (eps * longest) + 1e-30


def _lane_sums(query_ND: Tensor, item_ND: Tensor) -> Tensor:
    product_ND = query_ND.double() * item_ND.double()
    product_ND = F.pad(product_ND, (0, -product_ND.shape[1] % _LANES))
    lanes_N8 = product_ND[:, :_LANES].clone()
    for depth in range(_LANES, product_ND.shape[1], _LANES):
        lanes_N8 += product_ND[:, depth : depth + _LANES]
    lane = lanes_N8.unbind(1)
    return ((lane[0] + lane[4]) + (lane[2] + lane[6])) + ((lane[1] + lane[5]) + (lane[3] + lane[7]))
