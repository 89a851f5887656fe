"""What the engine needs of a backbone.

A context goes in as item indices, padded with 0 on the right; a query vector comes out; an item's score is the inner
product of the query with the item's vector. Nothing outside `models/` knows more about a backbone than this.

Shapes: B rows, L positions, D width, V items.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from rsir_scale.models.memory import Memory


class Backbone(nn.Module, ABC):
    """A causal sequence encoder over V items.

    Args:
        item_count: V; item indices run from 1 to V, and 0 is padding.
        max_length: positions that the encoder reads; callers pass at most that many.
        width: D, the dimension of queries and item vectors.
    """

    def __init__(self, *, item_count: int, max_length: int, width: int) -> None:
        super().__init__()
        self.item_count = item_count
        self.max_length = max_length
        self.width = width

    @abstractmethod
    def hidden(self, context_BL: Tensor) -> Tensor:
        """Return the query after each position, `[B, L, D]`; position l reads items 0..l. Padding is undefined."""

    @abstractmethod
    def item_vectors(self) -> Tensor:
        """Return the item table `[V + 1, D]`, on the model's device; row 0 belongs to padding and is never ranked."""

    def encode(self, context_BL: Tensor) -> Tensor:
        """Return the query `[B, D]` after each row's last item.

        Args:
            context_BL: int64, right-padded with 0, at least one item a row, L at most `max_length`.
        """
        last_B = (context_BL > 0).sum(1) - 1
        return self.hidden(context_BL)[torch.arange(len(context_BL), device=context_BL.device), last_B]

    def remember(self, context_BL: Tensor) -> Memory | None:  # noqa: ARG002
        """Return the memory of contexts, to be advanced from; None where the backbone can only encode them anew.

        Args:
            context_BL: as for `encode`, but rows may be empty; L may be 0.
        """
        return None

    def advance(self, memory: Memory, item_B: Tensor, position_B: Tensor) -> Tensor:
        """Put one more item into each context and return the query `[B, D]` after it; equal to `encode` up to rounding.

        Args:
            memory: of the contexts before `position_B`; the new position is written to it.
            item_B: int64, 1..V.
            position_B: int64, where the item stands, below `memory.positions` and `max_length`.
        """
        raise NotImplementedError(f"{type(self).__name__} remembers nothing: use encode")
