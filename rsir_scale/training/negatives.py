"""Which items an update learns to score low: drawn once, shared by all rows and all workers.

Comes in: how many, and a generator. Goes out: the distinct items drawn, in order, and how many items of the catalogue
each of them stands for. A draw takes the time of the items drawn, not of the catalogue.

Shapes: N distinct negatives, V items, R rows of a batch, T targets, B rows, L positions.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
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
        log_stands_for: log of the number of items that each stands for: a number for all, or float64 `[N]`.
    """

    item_N: Tensor
    log_stands_for: float | Tensor


class Sampler(Protocol):
    """A distribution over items 1..V to draw from."""

    def draw(self, count: int, generator: torch.Generator) -> Negatives:
        """Draw `count` items with replacement on the CPU; duplicates among them count once."""
        ...


class UniformSampler:
    """Every item is as likely; K distinct ones stand for V / K items each."""

    def __init__(self, item_count: int) -> None:
        self._item_count = item_count

    def draw(self, count: int, generator: torch.Generator) -> Negatives:
        """Draw; see `Sampler`."""
        item_N = torch.unique(torch.randint(1, self._item_count + 1, (count,), generator=generator))
        return Negatives(item_N, math.log(self._item_count / len(item_N)))


class PopularitySampler:
    """Items are drawn in proportion to a power of how often they occur.

    What never occurs counts as if it occurred once: with every item within reach, correction is exact. An item stands
    for one over the probability that it is among the draws (Horvitz and Thompson, 1952).

    Args:
        counts: occurrences of each item, by index; entry 0 is padding.
        power: 0 is uniform, 1 in proportion to occurrences.
    """

    def __init__(self, counts: npt.NDArray[np.int64], power: float) -> None:
        self._cumulative = np.cumsum(np.maximum(counts[1:], 1).astype(np.float64) ** power)

    def draw(self, count: int, generator: torch.Generator) -> Negatives:
        """Draw; see `Sampler`."""
        total = self._cumulative[-1]
        points = torch.rand(count, generator=generator, dtype=torch.float64).numpy() * total
        # A point can round up to the total.
        drawn = np.minimum(np.searchsorted(self._cumulative, points, side="right"), len(self._cumulative) - 1)
        column = np.unique(drawn)
        mass = self._cumulative[column] - np.where(column > 0, self._cumulative[column - 1], 0.0)
        among = -np.expm1(count * np.log1p(-np.minimum(mass / total, 1.0 - 1e-16)))
        return Negatives(torch.from_numpy(column + 1), torch.from_numpy(-np.log(among)))


def sampler_of(config: TrainingConfig, items: npt.NDArray[np.int32], item_count: int) -> Sampler:
    """The distribution that the settings name.

    Args:
        config: the training section.
        items: all interactions trained on.
        item_count: V.
    """
    if config.negative_sampling == "uniform":
        return UniformSampler(item_count)
    return PopularitySampler(np.bincount(items, minlength=item_count + 1), config.popularity_power)


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
    later_BL = torch.maximum(batch.target_BL, F.pad(batch.context_BL[:, 1:], (0, 1)))
    own_BL = torch.cat([batch.context_BL[:, :1], later_BL], dim=1)
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
