"""Extending sequences backwards: which items a reversed model puts before a sequence, one after another.

Comes in: a reversed model, and contexts that begin with a sequence's last item and end with its first. Goes out: for
each context the items that follow it, the best by score at each step, none twice. All contexts of a block take a step
together, and only the newest item is encoded (`Backbone.advance`).

What a context is given must depend on nothing beside it, and be the same where rows are verified on another machine. So
contexts are encoded in double precision, queries are rounded to single precision, and items are chosen by
`ranking.score`: how many contexts share a product, or how a processor sums it, changes digits that the rounding drops.

Shapes: N contexts, B contexts of a block, P items written, L positions, T new positions, K training items, D width.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rsir_scale.data.sequences import Int32Array, Int64Array, Sequences
from rsir_scale.models.base import Backbone
from rsir_scale.models.inputs import blocks_by_length, pad_latest
from rsir_scale.models.memory import Memory
from rsir_scale.ranking.base import ItemSearch, SearchQuery
from rsir_scale.ranking.build import exact_search

_ROWS = 128  # contexts that take a step together; their keys and values stay in some tens of megabytes


class Extender:
    """Extends contexts by items of training sequences.

    Args:
        model: trained on reversed sequences, in evaluation mode and double precision.
        known_K: int64, the items that may be written, ascending.
        rows: contexts that take a step together; changes no result.
    """

    def __init__(self, model: Backbone, known_K: Tensor, *, rows: int = _ROWS) -> None:
        self.known_K = known_K.to(model.item_vectors().device)
        self._search: ItemSearch = exact_search(_table(model, self.known_K))
        self.model = model
        self._rows = rows
        # Each item's place in the search's table; 0 where it may not be written.
        self._place_V = torch.zeros(model.item_count + 1, dtype=torch.int64, device=self.known_K.device)
        self._place_V[self.known_K] = torch.arange(1, len(self.known_K) + 1, device=self.known_K.device)
        self.search_name = self._search.name

    @torch.inference_mode()
    def extend(self, contexts: Sequences, count_N: Int64Array) -> Int32Array:
        """Write items after each context.

        Args:
            contexts: N contexts of one item or more, as the model reads them.
            count_N: int64, how many; with the context, at most one more than the model reads.

        Returns:
            int32[N, P], in the order in which they were chosen; 0 where no more were wanted, or left.

        Raises:
            ArithmeticError: a query vector is not finite.
        """
        found_NP = np.zeros((len(contexts), int(count_N.max(initial=0))), dtype=np.int32)
        for rows in blocks_by_length(contexts.lengths, rows=self._rows):
            most = int(count_N[rows].max())
            found_NP[rows, :most] = self._extend_block(contexts, rows, most).cpu().numpy()
        return np.where(np.arange(found_NP.shape[1]) < count_N[:, None], found_NP, 0)

    def _extend_block(self, contexts: Sequences, rows: Int64Array, count: int) -> Tensor:
        context_BL = pad_latest(contexts, rows, max_length=self.model.max_length).to(self.known_K.device)
        growing, query_BD = _Growing.begin(self.model, context_BL, count)
        chosen: list[Tensor] = []
        for step in range(count):
            chosen.append(self._best(query_BD, growing.context_BL))
            if step + 1 < count:
                growing, query_BD = growing.grown(chosen[-1])
        return torch.stack(chosen, dim=1)

    def _best(self, query_BD: Tensor, context_BL: Tensor) -> Tensor:
        """The best item of each row that its context does not hold; 0 where it holds them all."""
        query = SearchQuery.for_best(query_BD.float(), self._place_V[context_BL])
        place_B = self._search.search(query, rank_threshold=1, top_candidates=1).candidate_BP[:, 0]
        return torch.where(place_B > 0, self.known_K[place_B - 1], 0)


@dataclass(frozen=True)
class _Growing:
    """Contexts that grow by an item a step, each on nodes of its own.

    Attributes:
        model: encodes; memory: its keys and values.
        context_BL: items, 0 where there is none yet.
        length_B: items of each context.
        path_BL: the node of each position.
    """

    model: Backbone
    memory: Memory
    context_BL: Tensor
    length_B: Tensor
    path_BL: Tensor

    @classmethod
    def begin(cls, model: Backbone, context_BL: Tensor, count: int) -> tuple["_Growing", Tensor]:
        """Encode whole contexts that `count` items are to follow; returns the queries after their ends, too."""
        memory = model.memory()
        if memory is None:
            raise TypeError(f"{type(model).__name__} remembers nothing")
        rows, width = context_BL.shape
        context_BL = torch.cat([context_BL, context_BL.new_zeros((rows, count))], dim=1)
        path_BL = torch.arange(context_BL.numel(), device=context_BL.device).view_as(context_BL)
        memory.keep(path_BL.new_empty(0), room=path_BL.numel())
        memory.take(path_BL.numel())
        row_T, position_T = (context_BL > 0).nonzero(as_tuple=True)
        query_TD = model.advance(memory, context_BL[row_T, position_T], position_T, path_BL[row_T, :width])
        length_B = (context_BL > 0).sum(1)
        return cls(model, memory, context_BL, length_B, path_BL), query_TD[length_B.cumsum(0) - 1]

    def grown(self, item_B: Tensor) -> tuple["_Growing", Tensor]:
        """Append an item to each context; returns the queries after them, too. One that gets item 0 is over."""
        position_B1 = self.length_B[:, None]
        context_BL = self.context_BL.scatter(1, position_B1, item_B[:, None])
        # A context that is over is encoded with item 0, so that all keep in step; nothing is left to choose for it.
        query_BD = self.model.advance(self.memory, item_B, self.length_B, self.path_BL)
        return _Growing(self.model, self.memory, context_BL, self.length_B + 1, self.path_BL), query_BD


def _table(model: Backbone, known_K: Tensor) -> Tensor:
    """The vectors of the items that may be written, `[K + 1, D]`, behind a row of padding."""
    vectors_VD = model.item_vectors().detach().float()
    return torch.cat([torch.zeros_like(vectors_VD[:1]), vectors_VD[known_K]])
