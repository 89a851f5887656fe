"""Which items an update learns to score low: drawn once, shared by all rows and all workers.

Comes in: how many, and a generator. Goes out: the distinct items drawn, in order, and how many items of the catalogue
each of them stands for. Every item is as likely. A draw takes the time of the items drawn, not of the catalogue.

Shapes: N distinct negatives, V items, R rows of a batch, T targets, B rows, L positions.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from rsir_scale.config.settings import TrainingConfig
from rsir_scale.errors import ConfigError
from rsir_scale.training.batches import Batch
from rsir_scale.training.softmax import Hidden


@dataclass(frozen=True)
class Negatives:
    """The items drawn for one update.

    Attributes:
        item_N: int64, distinct, ascending, on the CPU.
        log_stands_for: log of the number of items that each stands for.
    """

    item_N: Tensor
    log_stands_for: float


def draw_negatives(count: int, *, item_count: int, generator: torch.Generator) -> Negatives:
    """Draw `count` of the items 1..V with replacement, each as likely, on the CPU; duplicates count once.

    Each of the N distinct ones stands for V / N items.
    """
    item_N = torch.unique(torch.randint(1, item_count + 1, (count,), generator=generator))
    return Negatives(item_N, math.log(item_count / len(item_N)))


def check_negatives(config: TrainingConfig, item_count: int) -> None:
    """Refuse more negatives than there are other items.

    Raises:
        ConfigError: `training.negatives` is not below the catalogue size, under a loss that draws them.
    """
    if config.loss != "cross_entropy" and config.negatives >= item_count:
        raise ConfigError(
            f"training.negatives={config.negatives} is not below the catalogue size {item_count}: set "
            f"1..{item_count - 1}, or training.loss=cross_entropy, which scores the whole catalogue"
        )


def own_negatives(batch: Batch, row_T: Tensor, negative_N: Tensor) -> Hidden:
    """Find the negatives that stand in a target's own sequence.

    Args:
        batch: the batch that the targets come from.
        row_T: the row of each target, ascending.
        negative_N: distinct items, ascending, on the batch's device.

    Returns:
        Targets and columns of the negatives to hide.
    """
    # An item that is context alone is no target, and yet the user's own.
    later_BL = torch.maximum(batch.target_BL, F.pad(batch.contexts.context_BL[:, 1:], (0, 1)))
    own_BL = torch.cat([batch.contexts.context_BL[:, :1], later_BL], dim=1)
    column_BL = torch.searchsorted(negative_N, own_BL).clamp_(max=len(negative_N) - 1)
    row_R, place_R = (negative_N[column_BL] == own_BL).nonzero(as_tuple=True)
    target_H, hit_H = _expand(row_T, row_R)
    return Hidden(target_H, column_BL[row_R, place_R][hit_H])


def _expand(row_T: Tensor, row_R: Tensor) -> tuple[Tensor, Tensor]:
    """Pair every hit on a row with every target of that row: targets, and for each the number of its hit."""
    first, last = torch.searchsorted(row_T, row_R), torch.searchsorted(row_T, row_R, right=True)
    counts = last - first
    hit = torch.repeat_interleave(torch.arange(len(row_R), device=row_R.device), counts)
    within = torch.arange(len(hit), device=row_R.device) - (counts.cumsum(0) - counts)[hit]
    return first[hit] + within, hit
