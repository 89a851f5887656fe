"""What a causal backbone remembers of contexts under way, so that one more item costs one position.

Shapes: K blocks, B rows, H heads, L positions, d width of a head.
"""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Memory:
    """Keys and values of every block; positions at and after a row's next one hold anything.

    Attributes:
        key_KBHLd, value_KBHLd: float, on the backbone's device.
    """

    key_KBHLd: Tensor
    value_KBHLd: Tensor

    @property
    def positions(self) -> int:
        """L, how many positions there is room for."""
        return self.key_KBHLd.shape[3]

    def take(self, rows: Tensor) -> "Memory":
        """Return the memory of the given rows (a mask or row numbers)."""
        return Memory(self.key_KBHLd[:, rows], self.value_KBHLd[:, rows])

    def widened(self, positions: int) -> "Memory":
        """Return a memory with room for at least `positions`."""
        missing = positions - self.positions
        if missing <= 0:
            return self
        return Memory(F.pad(self.key_KBHLd, (0, 0, 0, missing)), F.pad(self.value_KBHLd, (0, 0, 0, missing)))

    def write(self, rows: Tensor, other: "Memory", others: Tensor) -> None:
        """Overwrite rows, in place, with the given rows of a memory that is no wider."""
        for mine, theirs in ((self.key_KBHLd, other.key_KBHLd), (self.value_KBHLd, other.value_KBHLd)):
            mine[..., : other.positions, :].index_copy_(1, rows, theirs.index_select(1, others))
