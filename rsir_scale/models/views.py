"""Views of sequences for contrastive learning: a part of each, some items masked, or some put in another order.

As in CL4SRec (Xie et al., ICDE 2022, Sec. III-C), without a loop over rows. Shares are of a row's own length, rounded
down: a share of .2 leaves rows of fewer than ten items in their order.

Shapes: B rows, L positions, W ways of making a view.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

_WAYS = 3


@dataclass(frozen=True)
class Shares:
    """How much of a sequence a crop keeps, masking hides and shuffling moves; each 0..1."""

    crop: float
    mask: float
    reorder: float


@dataclass(frozen=True)
class View:
    """One view of each row.

    Attributes:
        item_BL: int64, right-padded with 0; at least one item a row.
        masked_BL: whether the item there is hidden.
    """

    item_BL: Tensor
    masked_BL: Tensor


def two_views(context_BL: Tensor, shares: Shares, *, draws: torch.Generator) -> tuple[View, View]:
    """Make two views of each row, in two different ways of the three.

    Args:
        context_BL: int64 on any device, right-padded with 0, at least one item a row.
        shares: strength of each way.
        draws: a CPU generator.
    """
    rows = len(context_BL)
    first_B = torch.randint(_WAYS, (rows,), generator=draws)
    second_B = (first_B + torch.randint(1, _WAYS, (rows,), generator=draws)) % _WAYS
    one, other = (_view(context_BL, shares, way_B, draws) for way_B in (first_B, second_B))
    return one, other


def _view(context_BL: Tensor, shares: Shares, way_B: Tensor, draws: torch.Generator) -> View:
    device = context_BL.device
    length_B = (context_BL > 0).sum(1)
    start_B, order_BL = (
        torch.rand(shape, generator=draws, dtype=torch.float64).to(device)
        for shape in ((len(context_BL),), context_BL.shape)
    )
    way_B1 = way_B.to(device)[:, None]
    item_BL = torch.where(way_B1 == 0, cropped(context_BL, length_B, shares.crop, start_B), context_BL)
    item_BL = torch.where(way_B1 == 2, reordered(context_BL, length_B, shares.reorder, start_B, order_BL), item_BL)
    return View(item_BL, (way_B1 == 1) & masked(context_BL, length_B, shares.mask, order_BL))


def cropped(context_BL: Tensor, length_B: Tensor, share: float, start_B: Tensor) -> Tensor:
    """Keep a run of consecutive items, one at least; `start_B` in [0, 1) says where it begins."""
    kept_B = _part(length_B, share).clamp(min=1)
    place_L = torch.arange(context_BL.shape[1], device=context_BL.device)
    begin_B1 = _begin(length_B, kept_B, start_B)[:, None]
    moved_BL = context_BL.gather(1, (begin_B1 + place_L).clamp(max=context_BL.shape[1] - 1))
    return torch.where(place_L < kept_B[:, None], moved_BL, 0)


def masked(context_BL: Tensor, length_B: Tensor, share: float, order_BL: Tensor) -> Tensor:
    """Choose items to hide: those of the least numbers in `order_BL`, which lie in [0, 1)."""
    rank_BL = order_BL.masked_fill(context_BL == 0, 2.0).argsort(1).argsort(1)
    return rank_BL < _part(length_B, share)[:, None]


def reordered(context_BL: Tensor, length_B: Tensor, share: float, start_B: Tensor, order_BL: Tensor) -> Tensor:
    """Shuffle a run of consecutive items by the numbers in `order_BL`; `start_B` says where it begins."""
    moved_B = _part(length_B, share)
    place_L = torch.arange(context_BL.shape[1], device=context_BL.device)
    begin_B1 = _begin(length_B, moved_B, start_B)[:, None]
    inside_BL = (place_L >= begin_B1) & (place_L < begin_B1 + moved_B[:, None])
    key_BL = torch.where(inside_BL, begin_B1 + order_BL * moved_B[:, None], place_L.double())
    return context_BL.gather(1, key_BL.argsort(dim=1, stable=True))


def _part(length_B: Tensor, share: float) -> Tensor:
    return (length_B * share).floor().long()


def _begin(length_B: Tensor, part_B: Tensor, start_B: Tensor) -> Tensor:
    """Where a part of that many items begins, all places alike."""
    return (start_B * (length_B - part_B + 1)).floor().long()
