"""Contexts of an update one after another, without padding, and the dropout that belongs to each of their tokens.

Comes in: right-padded contexts, shortest first, an identity for each and a key. Goes out: their tokens, and for every
token a seed that depends on the key, the context's identity and the position alone. A hash of the seed, the place in
the network and the channel decides whether dropout zeroes an element (`Drops`). Every worker so drops the same for a
token, whatever else it encodes, and the backward pass stores no mask. `kernel/pieces.h` does the same in registers.

Shapes: B rows, L positions, T tokens, P rows of a part, H heads, C channels.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rsir_scale.models.inputs import Part, parts_by_length
from rsir_scale.randomness import fold

POSITIONS_APART = 1 << 16  # channels from one head's attention to the next's
LEVELS = 1 << 24
_WORD = 0xFFFFFFFF
_STEP = 0x9E3779B9  # between counters: 2^32 over the golden ratio


@dataclass(frozen=True)
class PackedContexts:
    """Contexts, as rectangles and as tokens.

    Attributes:
        context_BL: int64, right-padded with 0, shorter contexts first.
        parts: rows of similar length, in order.
        item_T: int64, 1..V.
        row_T, position_T: int64, where each token stands.
        offset_B1: int64 on the CPU, where each row begins among the tokens.
        seed_T: int64, 0..2^32-1: what a token's dropout is keyed by.
    """

    context_BL: Tensor
    parts: list[Part]
    item_T: Tensor
    row_T: Tensor
    position_T: Tensor
    offset_B1: Tensor
    seed_T: Tensor

    def to(self, device: torch.device) -> "PackedContexts":
        """Copy what is read beside the tokens' vectors to a device."""
        named = ("context_BL", "item_T", "row_T", "position_T", "seed_T")
        return replace(self, **{name: getattr(self, name).to(device) for name in named})

    def rectangles(self) -> Iterator[tuple[Tensor, Tensor]]:
        """The tokens of each part, int64 `[P, L]`, and where they are real; elsewhere stands any token."""
        first_B1 = self.offset_B1.to(self.row_T.device)
        for rows, longest in self.parts:
            place_L = torch.arange(longest, device=first_B1.device)
            token_PL = first_B1[:-1][rows, None] + place_L
            real_PL = token_PL < first_B1[1:][rows, None]
            yield token_PL.clamp_(max=len(self.row_T) - 1), real_PL


def pack(context_BL: Tensor, *, identity_B: npt.NDArray[np.int64], key: int) -> PackedContexts:
    """Pack contexts.

    Args:
        context_BL: int64, right-padded with 0, at least one item a row, shorter contexts first.
        identity_B: of each context, as randomness knows it: distinct within what is encoded by the key.
        key: of all draws of dropout.
    """
    host_BL = context_BL.cpu()
    row_T, position_T = (host_BL > 0).nonzero(as_tuple=True)
    length_B = np.bincount(row_T.numpy(), minlength=len(host_BL))
    seed_T = fold(key, identity_B[row_T.numpy()], position_T.numpy()) & np.uint64(_WORD)
    packed = PackedContexts(
        context_BL=host_BL,
        parts=parts_by_length(length_B),
        item_T=host_BL[row_T, position_T],
        row_T=row_T,
        position_T=position_T,
        offset_B1=torch.from_numpy(np.concatenate([[0], np.cumsum(length_B)])),
        seed_T=torch.from_numpy(seed_T.astype(np.int64)),
    )
    return packed.to(context_BL.device)


@dataclass(frozen=True)
class Drops:
    """Dropout by counter at the places of a network.

    Attributes:
        rate: share of elements that are zeroed; the others are scaled by 1 / (1 - rate).
        seed_T: int64, of each token.
        first: number of the first place.
    """

    rate: float
    seed_T: Tensor
    first: int = 0

    def of_block(self, block: int) -> "Drops":
        """Those of the four places of a block; place 0 is the blocks' input."""
        return replace(self, first=1 + 4 * block)

    def at(self, place: int, x_TC: Tensor) -> Tensor:
        """Drop elements of the tokens' channels at a place."""
        channel_C = torch.arange(x_TC.shape[1], device=x_TC.device)
        return self._dropped(x_TC, place, self.seed_T[:, None], channel_C)

    def of_weights(self, place: int, weights_PHLL: Tensor, token_PL: Tensor) -> Tensor:
        """Drop weights of attention: the token that reads draws for each head and position that it reads from."""
        heads, positions = weights_PHLL.shape[1], weights_PHLL.shape[3]
        place_L, place_H = (torch.arange(count, device=weights_PHLL.device) for count in (positions, heads))
        channel_H1L = (place_H * POSITIONS_APART)[:, None, None] + place_L
        return self._dropped(weights_PHLL, place, self.seed_T[token_PL][:, None, :, None], channel_H1L)

    def _dropped(self, x: Tensor, place: int, seed: Tensor, channel: Tensor) -> Tensor:
        if self.rate == 0.0:
            return x
        stream = _mix(seed + (self.first + place) * _STEP & _WORD)
        draw = _mix((stream + channel * _STEP) & _WORD) >> 8
        return x * (draw >= threshold(self.rate)).to(x.dtype).mul_(1.0 / (1.0 - self.rate))


def threshold(rate: float) -> int:
    """Draws below it, of 0..2^24-1, zero an element."""
    return round(rate * LEVELS)


def _mix(x: Tensor) -> Tensor:
    """Hash 32 bits held in int64 (Wellons, "Prospecting for hash functions": lowbias32)."""
    x = ((x ^ (x >> 16)) * 0x7FEB352D) & _WORD
    x = ((x ^ (x >> 15)) * 0x846CA68B) & _WORD
    return x ^ (x >> 16)
