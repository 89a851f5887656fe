"""The model that is learned: which noise is in M noisy item vectors that precede a sequence.

Comes in: noisy vectors, the step that they are at, and the sequence as the mean of its items' vectors. Goes out: the
noise; and, for classifier guidance, a guess of the sequence's first item. Item vectors are frozen, and not in here.
The authors add up the sequence's vectors; a mean says the same of a sequence of one item and of one of fifty, and the
model is asked for shorter sequences than those it learns from.

Shapes: B rows, M items, D width, H x W the map of a vector, S width of the signal, F frequencies.
Source: Liu et al., "Diffusion Augmentation for Sequential Recommendation", CIKM 2023.
"""

import math

import torch
from torch import Tensor, nn

from rsir_scale.augmenters.diffuasr.options import DiffuASROptions, map_height
from rsir_scale.augmenters.diffuasr.unet import UNet

_SIGNAL = 4  # times the channels
_SLOWEST = 10_000.0


class Denoiser(nn.Module):
    """A U-Net that reads time and guide.

    Raises:
        ConfigError: vectors of this width make no map.
    """

    def __init__(self, options: DiffuASROptions, *, width: int) -> None:
        super().__init__()
        signal = _SIGNAL * options.channels
        self.height = map_height(width)
        self.frequencies = options.channels // 2
        self.unet = UNet(items=options.items, channels=options.channels, signal=signal, dropout=options.dropout)
        self.time = _two_layers(options.channels, signal, signal)
        self.guide = _two_layers(width, signal, signal)
        # What stands for a sequence that is hidden.
        self.hidden_D = nn.Parameter(torch.zeros(width))
        classifies = options.guidance == "classifier"
        self.first = _two_layers(options.items * width + options.channels, 2 * width, width) if classifies else None

    def forward(self, x_BMD: Tensor, step_B: Tensor, guide_BD: Tensor) -> Tensor:
        """Return the noise `[B, M, D]` that is seen in `x_BMD`.

        Args:
            x_BMD: noisy vectors, of the model's precision.
            step_B: int64, 0..T-1.
            guide_BD: the sequences; `hidden_D` where there is none.
        """
        signal_BS = self.time(self._waves(step_B)) + self.guide(guide_BD)
        x_BMHW = x_BMD.reshape(*x_BMD.shape[:2], self.height, -1)
        noise_BMD: Tensor = self.unet(x_BMHW, signal_BS).flatten(2)
        return noise_BMD

    def first_item(self, x_BMD: Tensor, step_B: Tensor) -> Tensor:
        """Return the vector `[B, D]` that the item after the noisy ones is expected to have.

        Raises:
            TypeError: the model is guided without a classifier.
        """
        if self.first is None:
            raise TypeError("a model for augmenter.guidance=classifier_free has no classifier")
        first_BD: Tensor = self.first(torch.cat([x_BMD.flatten(1), self._waves(step_B)], 1))
        return first_BD

    def _waves(self, step_B: Tensor) -> Tensor:
        """Sines and cosines of the step, from fast to slow."""
        fall = math.log(_SLOWEST) / (self.frequencies - 1)
        rate_F = torch.exp(-fall * torch.arange(self.frequencies, dtype=torch.float64, device=step_B.device))
        angle_BF = step_B[:, None] * rate_F
        return torch.cat([angle_BF.sin(), angle_BF.cos()], 1).to(self.hidden_D.dtype)


def _two_layers(inputs: int, inner: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, inner), nn.SiLU(), nn.Linear(inner, outputs))
