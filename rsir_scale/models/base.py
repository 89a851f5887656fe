"""What the engine needs of a backbone.

A context goes in as item indices, padded with 0 on the right; a query vector comes out; an item's score is the inner
product of the query with the item's vector. Nothing outside `models/` knows more about a backbone than this.

Shapes: B rows, N new positions, L positions, D width, V items.
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

    def memory(self) -> Memory | None:
        """Return an empty memory to advance in; None where contexts can only be encoded anew."""
        return None

    def advance(self, memory: Memory, item_N: Tensor, position_N: Tensor, path_NL: Tensor) -> Tensor:
        """Encode N more positions and return the query `[N, D]` after each; equal to `encode` up to rounding.

        Args:
            memory: of the positions before them, but for those among the new ones; the new ones are written to it.
            item_N: int64, 1..V.
            position_N: int64, where each stands in its context, below `max_length`.
            path_NL: int64, the nodes of each context; at `position_N` the new node itself, after it anything that is
                a node.
        """
        raise NotImplementedError(f"{type(self).__name__} remembers nothing: use encode")
