"""Next-item losses over the real positions of a batch.

Each returns the weighted *sum* over targets, so that the caller can normalise over the whole batch, also when several
workers share it.

Shapes: T targets (real positions of the batch), D width, V items, N negatives, B rows, L positions.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from rsir_scale.training.batches import Batch


@dataclass(frozen=True)
class Targets:
    """The real positions of a batch, flattened.

    Attributes:
        query_TD: query at each position.
        item_T: the next item.
        row_T: the row of the batch that the position belongs to.
        weight_T: loss weight.
    """

    query_TD: Tensor
    item_T: Tensor
    row_T: Tensor
    weight_T: Tensor


def flatten_targets(hidden_BLD: Tensor, batch: Batch) -> Targets:
    """Drop padding before the item matmul: at an average of six items most positions of a rectangle are padding."""
    row_T, position_T = (batch.target_BL > 0).nonzero(as_tuple=True)
    return Targets(hidden_BLD[row_T, position_T], batch.target_BL[row_T, position_T], row_T, batch.weight_B[row_T])


def cross_entropy(targets: Targets, items_VD: Tensor) -> Tensor:
    """Softmax cross-entropy over the whole catalogue (padding excluded), weighted sum."""
    logits_TV = targets.query_TD @ items_VD[1:].T
    return (targets.weight_T * F.cross_entropy(logits_TV, targets.item_T - 1, reduction="none")).sum()


def sampled_softmax(
    targets: Targets,
    items_VD: Tensor,
    *,
    batch: Batch,
    negatives: int,
    logq_correction: bool,
    generator: torch.Generator,
) -> Tensor:
    """Softmax over the target and uniform negatives shared by the batch, weighted sum.

    Negatives that stand in a row's own sequence are masked for that row. With logQ correction (Bengio and Senecal,
    2008) a negative's logit is raised, against the target's, by the log of the number of items it stands for: the loss
    then estimates full cross-entropy and does not depend on the number drawn. The authors' setting does without.

    Args:
        targets: flattened positions.
        items_VD: item table, row 0 padding.
        batch: the batch that the targets come from; its items are the rows' own sequences.
        negatives: draws; duplicates among them count once.
        logq_correction: whether a negative counts for all the items that it stands for.
        generator: CPU generator of the draws.
    """
    catalogue = len(items_VD) - 1
    drawn = torch.randint(1, catalogue + 1, (negatives,), generator=generator)
    negative_N = torch.unique(drawn).to(items_VD.device)
    positive_T = (targets.query_TD * items_VD[targets.item_T]).sum(1)
    if logq_correction:
        positive_T = positive_T - math.log(catalogue / len(negative_N))
    logits_TN = torch.cat([positive_T[:, None], targets.query_TD @ items_VD[negative_N].T], dim=1)
    row, column = _own_negatives(batch, negative_N)
    position, hit = _expand(targets.row_T, row)
    logits_TN[position, 1 + column[hit]] = float("-inf")
    loss_T = F.cross_entropy(logits_TN, torch.zeros_like(targets.item_T), reduction="none")
    return (targets.weight_T * loss_T).sum()


def _own_negatives(batch: Batch, negative_N: Tensor) -> tuple[Tensor, Tensor]:
    """Find the negatives that a row's own sequence holds: rows of the batch and columns of the negatives."""
    own_BL = torch.cat([batch.context_BL[:, :1], batch.target_BL], dim=1)
    column_BL = torch.searchsorted(negative_N, own_BL).clamp_(max=len(negative_N) - 1)
    row, position = (negative_N[column_BL] == own_BL).nonzero(as_tuple=True)
    return row, column_BL[row, position]


def _expand(row_T: Tensor, row: Tensor) -> tuple[Tensor, Tensor]:
    """Pair every hit on a row with every target position of that row; `row_T` is sorted.

    Returns:
        Target positions, and for each the number of its hit.
    """
    first, last = torch.searchsorted(row_T, row), torch.searchsorted(row_T, row, right=True)
    counts = last - first
    hit = torch.repeat_interleave(torch.arange(len(row), device=row.device), counts)
    within = torch.arange(len(hit), device=row.device) - (counts.cumsum(0) - counts)[hit]
    return first[hit] + within, hit
