"""What the engine needs of a backbone.

A context goes in as item indices, padded with 0 on the right; a query vector comes out; an item's score is the inner
product of the query with the item's vector. Nothing outside `models/` knows more about a backbone than this.

Shapes: B rows, N new positions, L positions, T tokens, D width, V items.
"""

from abc import ABC, abstractmethod

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rsir_scale.data.dataset import Sequences
from rsir_scale.models.memory import Memory
from rsir_scale.models.packed import PackedContexts


class Backbone(nn.Module, ABC):
    """A sequence encoder over V items. A subclass has `item_vectors`, and `hidden` or `encode`.

    Args:
        item_count: V; item indices run from 1 to V, and 0 is padding.
        max_length: positions that the encoder reads; callers pass at most that many.
        width: D, the dimension of queries and item vectors.

    Raises:
        TypeError: the subclass has neither `hidden` nor `encode`.
    """

    def __init__(self, *, item_count: int, max_length: int, width: int) -> None:
        super().__init__()
        if type(self).hidden is Backbone.hidden and type(self).encode is Backbone.encode:
            raise TypeError(f"{type(self).__name__} has neither hidden nor encode, and each is made from the other")
        self.item_count = item_count
        self.max_length = max_length
        self.width = width

    def hidden(self, context_BL: Tensor) -> Tensor:
        """Return the query after each position, `[B, L, D]`; position l reads items 0..l. Padding is undefined.

        A backbone with `encode` alone gets it by encoding each position as the end of a context of its own, which costs
        as many rows as there are items in the batch.
        """
        row_T, position_T = (context_BL > 0).nonzero(as_tuple=True)
        place_L = torch.arange(context_BL.shape[1], device=context_BL.device)
        query_TD = self.encode(context_BL[row_T].masked_fill(place_L > position_T[:, None], 0))
        return query_TD.new_zeros((*context_BL.shape, self.width)).index_put((row_T, position_T), query_TD)

    @abstractmethod
    def item_vectors(self) -> Tensor:
        """Return the item table `[V + 1, D]`, on the model's device; row 0 belongs to padding and is never ranked."""

    def vectors_of(self, item: Tensor) -> Tensor:
        """Return the vectors `[..., D]` of some items, with gradient; equal to those rows of `item_vectors`.

        A backbone that computes its table gives them without computing the whole of it.

        Args:
            item: int64 of any shape, 0..V.
        """
        return F.embedding(item, self.item_vectors())

    def item_embedding(self) -> nn.Embedding | None:
        """Return the module with one row for each item, `[V + 1, D]`; None where items share parameters.

        A backbone that has it may be trained with `training.item_updates=sparse`: its `hidden` and `vectors_of` then
        read the rows by calling the module, and nothing else of a training step reads its weight.
        """
        return None

    def packed(self, contexts: PackedContexts) -> Tensor:
        """Return the query after each token of packed contexts, `[T, D]`, while training.

        A backbone that says nothing else encodes the rectangles of similar length and drops their padding.
        """
        query = []
        for rows, longest in contexts.parts:
            context_PL = contexts.context_BL[rows, :longest]
            query.append(self.hidden(context_PL)[context_PL > 0])
        return torch.cat(query)

    def packed_beside(self, contexts: PackedContexts, item_N: Tensor) -> tuple[Tensor, Tensor]:
        """Return what `packed` does, and the vectors `[N, D]` of some items, as `vectors_of` gives them.

        One look-up of both makes one gradient of the table, where two make two.
        """
        return self.packed(contexts), self.vectors_of(item_N)

    def encoder(self) -> str:
        """Name what encodes packed contexts here and now, as a fit's record says it."""
        return "torch, padded"

    def encodes_in(self) -> str:
        """Name what `encode` computes in here and now, outside training; evaluation and generation record it."""
        return "torch"

    def prepare(self, sequences: Sequences, *, item_vectors: npt.NDArray[np.float32] | None, seed: int) -> None:
        """Look at the training data once, on the CPU, before the first update of a fit that starts from nothing.

        A fit that is resumed, or that starts from trained weights, does not call it: whatever it finds belongs into
        parameters or buffers, which are saved.

        Args:
            sequences: D_k.
            item_vectors: `[V, d]`, what the user knows of each item, item 1 first; None without `model.item_vectors`.
            seed: of whatever is drawn.
        """

    def auxiliary_loss(self, context_BL: Tensor, *, draws: torch.Generator) -> Tensor | None:  # noqa: ARG002
        """Return a loss to train with beside the next item's: a sum over the rows, its weight applied; None: none.

        The fit divides it by the rows of the global batch and adds it to the mean loss of a target. Rows count alike:
        `training.synthetic_weight` weighs the next item's loss alone.

        Args:
            context_BL: int64, this worker's rows of the batch without their last items, right-padded with 0.
            draws: a CPU generator that belongs to the update and the worker.
        """
        return None

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
            path_NL: int64, the nodes of each context; at `position_N` the new node itself, after it any node
                that is taken, written or not.
        """
        raise NotImplementedError(f"{type(self).__name__} remembers nothing: use encode")
