"""What a causal backbone remembers of contexts under way, so that one more item costs one position.

Shapes: K blocks, B rows, L positions, D width.
"""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Memory:
    """Keys and values of every block; positions at and after a row's next one hold anything.

    Attributes:
        key_KBLD, value_KBLD: float, on the backbone's device.
    """

    key_KBLD: Tensor
    value_KBLD: Tensor

    @property
    def positions(self) -> int:
        """L, how many positions there is room for."""
        return self.key_KBLD.shape[2]

    def take(self, rows: Tensor) -> "Memory":
        """Return the memory of the given rows (a mask or row numbers)."""
        return Memory(self.key_KBLD[:, rows], self.value_KBLD[:, rows])

    def fitted(self, positions: int) -> "Memory":
        """Return a memory with room for `positions`, and with less than twice that: narrow rows are read faster."""
        if self.positions // 2 < positions <= self.positions:
            return self
        if positions > self.positions:
            more = (0, 0, 0, positions - self.positions)
            return Memory(F.pad(self.key_KBLD, more), F.pad(self.value_KBLD, more))
        key_KBLD, value_KBLD = self.key_KBLD[..., :positions, :], self.value_KBLD[..., :positions, :]
        return Memory(key_KBLD.contiguous(), value_KBLD.contiguous())

    def write(self, rows: Tensor, other: "Memory", others: Tensor) -> None:
        """Overwrite rows, in place, with the given rows of a memory that is no wider."""
        for mine, theirs in ((self.key_KBLD, other.key_KBLD), (self.value_KBLD, other.value_KBLD)):
            mine[..., : other.positions, :].index_copy_(1, rows, theirs.index_select(1, others))
