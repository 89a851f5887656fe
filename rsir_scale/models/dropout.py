"""Dropout whose random bits cost next to nothing on a CPU.

torch draws one number a time from a Mersenne twister there, which took a third of a training step; NumPy's SFC64 fills
whole words, and 16 bits an element decide. The stream is seeded by a draw from torch's own generator, so seeding torch
still fixes everything. Elsewhere torch's dropout is used as it is.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

_LEVELS = 1 << 16


class Dropout(nn.Module):
    """Zero each element with probability `rate` while training, and scale the others by 1 / (1 - rate)."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """Return `x`, dropped out if the module is in training mode."""
        if not self.training or self.rate == 0.0:
            return x
        if x.device.type != "cpu":
            return F.dropout(x, self.rate)
        return x * _scaled_mask(x.numel(), self.rate).view(x.shape)


def _scaled_mask(count: int, rate: float) -> Tensor:
    seed = int(torch.randint(2**62, ()))
    bits = np.random.SFC64(seed).random_raw(-(-count // 4)).view(np.uint16)[:count]
    kept = bits >= round(rate * _LEVELS)
    return torch.from_numpy(np.multiply(kept, np.float32(1.0 / (1.0 - rate)), dtype=np.float32))
