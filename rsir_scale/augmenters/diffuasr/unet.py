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
    """Convolutions over maps of any size; sides are halved upwards, so 1 stays 1."""

    def __init__(self, *, items: int, channels: int, signal: int, dropout: float) -> None:
        super().__init__()
        widths = [channels * multiplier for multiplier in _MULTIPLIERS]
        kept = [channels]
        self.enter = nn.Conv2d(items, channels, 3, padding=1)
        self.down = nn.ModuleList()
        for width in widths:
            resize = nn.Conv2d(width, width, 3, stride=2, padding=1) if len(self.down) < len(widths) - 1 else None
            inputs = [kept[-1], *[width] * (_BLOCKS - 1)]
            self.down.append(_Level(inputs, width, resize=resize, signal=signal, dropout=dropout))
            kept += [width] * (_BLOCKS + (resize is not None))
        self.middle = _Level([width] * 2, width, resize=None, signal=signal, dropout=dropout)
        self.up = nn.ModuleList()
        before = width
        for width in reversed(widths):
            resize = nn.Conv2d(width, width, 3, padding=1) if len(self.up) < len(widths) - 1 else None
            inputs = [coming + kept.pop() for coming in [before, *[width] * _BLOCKS]]
            self.up.append(_Level(inputs, width, resize=resize, signal=signal, dropout=dropout))
            before = width
        self.norm = nn.GroupNorm(GROUPS, channels, eps=1e-6)
        self.leave = nn.Conv2d(channels, items, 3, padding=1)

    def forward(self, x_BMHW: Tensor, signal_BS: Tensor) -> Tensor:
        """Return maps of the input's shape."""
        kept: list[Tensor] = [self.enter(x_BMHW)]
        for level in self.down:
            for block in level.blocks:
                kept.append(block(kept[-1], signal_BS))
            if level.resize is not None:
                kept.append(level.resize(kept[-1]))
        x_BCHW = kept[-1]
        for block in self.middle.blocks:
            x_BCHW = block(x_BCHW, signal_BS)
        for level in self.up:
            for block in level.blocks:
                x_BCHW = block(torch.cat([x_BCHW, kept.pop()], 1), signal_BS)
            if level.resize is not None:
                x_BCHW = level.resize(F.interpolate(x_BCHW, size=kept[-1].shape[2:], mode="nearest"))
        out_BMHW: Tensor = self.leave(F.silu(self.norm(x_BCHW)))
        return out_BMHW


class _Level(nn.Module):
    """The residual blocks of one size of the map, and what leads to the next size."""

    def __init__(
        self, inputs: Sequence[int], width: int, *, resize: nn.Module | None, signal: int, dropout: float
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(_Residual(one, width, signal=signal, dropout=dropout) for one in inputs)
        self.resize = resize


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
