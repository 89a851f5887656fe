"""The U-Net that guesses the noise: M items as M channels of a small map, halved three times and grown back.

Comes in: noisy maps and one signal a row (of time and guide). Goes out: maps of the same shape. What the signal says is
the business of `denoiser`. Channels, multipliers, blocks and norms are the authors'. Their attention in the middle is
left out: the middle of an 8 x 8 map is one pixel, and attention among one is a linear layer.

Shapes: B rows, M channels that are items, C channels inside, H x W the map, S width of the signal.
Source: Liu et al., "Diffusion Augmentation for Sequential Recommendation", CIKM 2023 (sequential U-Net).
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rsir_scale.models.dropout import Dropout

GROUPS = 8  # of a group norm; channels are multiples of it
_MULTIPLIERS = (1, 2, 2, 2)
_BLOCKS = 2


class UNet(nn.Module):
    """Convolutions over maps of any size; a side is halved upwards, so that 1 stays 1."""

    def __init__(self, *, items: int, channels: int, signal: int, dropout: float) -> None:
        super().__init__()
        widths = [channels * multiplier for multiplier in _MULTIPLIERS]
        kept = [channels]
        self.enter = nn.Conv2d(items, channels, 3, padding=1)
        self.down = nn.ModuleList()
        for level, width in enumerate(widths, start=1):
            shrinks = level < len(widths)
            self.down.append(_Down(kept[-1], width, shrinks=shrinks, signal=signal, dropout=dropout))
            kept += [width] * (_BLOCKS + shrinks)
        before = kept[-1]
        self.middle = nn.ModuleList(_Residual(before, before, signal=signal, dropout=dropout) for _ in range(2))
        self.up = nn.ModuleList()
        for width in reversed(widths):
            skips = [kept.pop() for _ in range(_BLOCKS + 1)]
            self.up.append(_Up(before, skips, width, grows=len(self.up) > 0, signal=signal, dropout=dropout))
            before = width
        self.norm = nn.GroupNorm(GROUPS, channels, eps=1e-6)
        self.leave = nn.Conv2d(channels, items, 3, padding=1)

    def forward(self, x_BMHW: Tensor, signal_BS: Tensor) -> Tensor:
        """Return maps of the input's shape."""
        kept: list[Tensor] = [self.enter(x_BMHW)]
        for level in self.down:
            kept += level(kept[-1], signal_BS)
        x_BCHW = kept[-1]
        for block in self.middle:
            x_BCHW = block(x_BCHW, signal_BS)
        for level in self.up:
            x_BCHW = level(x_BCHW, [kept.pop() for _ in range(_BLOCKS + 1)], signal_BS)
        out_BMHW: Tensor = self.leave(F.silu(self.norm(x_BCHW)))
        return out_BMHW


class _Down(nn.Module):
    """The blocks of one size on the way down, and what halves it."""

    def __init__(self, inputs: int, width: int, *, shrinks: bool, signal: int, dropout: float) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            _Residual(coming, width, signal=signal, dropout=dropout) for coming in [inputs, *[width] * (_BLOCKS - 1)]
        )
        self.shrink = nn.Conv2d(width, width, 3, stride=2, padding=1) if shrinks else None

    def forward(self, x_BCHW: Tensor, signal_BS: Tensor) -> list[Tensor]:
        """Return what each block gives, and the halved map; the way up reads all of them."""
        made = [x_BCHW]
        for block in self.blocks:
            made.append(block(made[-1], signal_BS))
        if self.shrink is not None:
            made.append(self.shrink(made[-1]))
        return made[1:]


class _Up(nn.Module):
    """What grows the map to the next size on the way up, and the blocks of that size."""

    def __init__(
        self, inputs: int, skips: Sequence[int], width: int, *, grows: bool, signal: int, dropout: float
    ) -> None:
        super().__init__()
        self.grow = nn.Conv2d(inputs, inputs, 3, padding=1) if grows else None
        coming = [inputs, *[width] * (len(skips) - 1)]
        self.blocks = nn.ModuleList(
            _Residual(one + skip, width, signal=signal, dropout=dropout)
            for one, skip in zip(coming, skips, strict=True)
        )

    def forward(self, x_BCHW: Tensor, skips: Sequence[Tensor], signal_BS: Tensor) -> Tensor:
        """Return the map of this size, given those of the way down."""
        if self.grow is not None:
            x_BCHW = self.grow(F.interpolate(x_BCHW, size=skips[0].shape[2:], mode="nearest"))
        for block, skip_BCHW in zip(self.blocks, skips, strict=True):
            x_BCHW = block(torch.cat([x_BCHW, skip_BCHW], 1), signal_BS)
        return x_BCHW


class _Residual(nn.Module):
    """Two convolutions with the signal added between them, around a shortcut."""

    def __init__(self, inputs: int, width: int, *, signal: int, dropout: float) -> None:
        super().__init__()
        self.norm_1 = nn.GroupNorm(GROUPS, inputs, eps=1e-6)
        self.convolve_1 = nn.Conv2d(inputs, width, 3, padding=1)
        self.shift = nn.Linear(signal, width)
        self.norm_2 = nn.GroupNorm(GROUPS, width, eps=1e-6)
        self.dropout = Dropout(dropout)
        self.convolve_2 = nn.Conv2d(width, width, 3, padding=1)
        self.shortcut = nn.Identity() if inputs == width else nn.Conv2d(inputs, width, 1)

    def forward(self, x_BCHW: Tensor, signal_BS: Tensor) -> Tensor:
        inner_BCHW = self.convolve_1(F.silu(self.norm_1(x_BCHW)))
        inner_BCHW = inner_BCHW + self.shift(F.silu(signal_BS))[:, :, None, None]
        inner_BCHW = self.convolve_2(self.dropout(F.silu(self.norm_2(inner_BCHW))))
        out_BCHW: Tensor = self.shortcut(x_BCHW) + inner_BCHW
        return out_BCHW
