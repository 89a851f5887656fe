"""Queries of the contexts under way: advanced from memory where the backbone can, else encoded anew.

A source's prefix is encoded once, however many trials start from it, and its memory is forked over them; from then on a
step costs one position. Every query, a trial's first included, comes out of the same call.

Shapes: B rows under way, N rows that begin, S sources among them, L context positions, D width.
"""

from typing import Protocol

import torch
from torch import Tensor

from rsir_scale.generation.state import DecodingRows
from rsir_scale.models.base import Backbone
from rsir_scale.models.memory import Memory


class Encoder(Protocol):
    """Follows the rows of a batch as they begin, grow and leave."""

    def begin(self, slot_N: Tensor, started: DecodingRows) -> None:
        """Take up trials that have just begun, in the given rows of the batch."""
        ...

    def keep(self, rows: Tensor) -> None:
        """Let go of all rows but these (a mask)."""
        ...

    def queries(self, rows: DecodingRows) -> Tensor:
        """Return the query after each context's last item, `[B, D]`."""
        ...


def encoder_of(backbone: Backbone, *, slots: int, longest: int) -> Encoder:
    """Choose how contexts are encoded.

    Args:
        backbone: in evaluation mode.
        slots: rows of the batch.
        longest: items that a context may grow to; beyond `max_length` all positions shift, and nothing can be kept.
    """
    empty = torch.zeros((slots, 0), dtype=torch.int64, device=backbone.item_vectors().device)
    memory = backbone.remember(empty) if longest <= backbone.max_length else None
    return PlainEncoder(backbone) if memory is None else CachedEncoder(backbone, memory)


class PlainEncoder:
    """Encodes every context anew, its latest items where it is longer than the backbone reads."""

    def __init__(self, backbone: Backbone) -> None:
        self._backbone = backbone

    def begin(self, slot_N: Tensor, started: DecodingRows) -> None:
        """Nothing to take up."""

    def keep(self, rows: Tensor) -> None:
        """Nothing to let go of."""

    def queries(self, rows: DecodingRows) -> Tensor:
        """Return the queries; see `Encoder.queries`."""
        longest, most = int(rows.length_B.max()), self._backbone.max_length
        if longest <= most:
            return self._backbone.encode(rows.context_BL[:, :longest])
        first_B1 = (rows.length_B - most).clamp(min=0)[:, None]
        return self._backbone.encode(rows.context_BL.gather(1, first_B1 + torch.arange(most, device=first_B1.device)))


class CachedEncoder:
    """Keeps what the backbone remembers of each row, and encodes one item a step."""

    def __init__(self, backbone: Backbone, memory: Memory) -> None:
        """Start from the memory of as many empty rows as the batch has."""
        self._backbone = backbone
        self._memory = memory

    def begin(self, slot_N: Tensor, started: DecodingRows) -> None:
        """Encode all but the last item of each start, once a source; see `Encoder.begin`."""
        if not len(started) or (before := int(started.start_B.max()) - 1) == 0:
            return
        first_S = torch.ones_like(started.source_B, dtype=torch.bool)
        first_S[1:] = started.source_B[1:] != started.source_B[:-1]
        prefix = self._backbone.remember(started.source_BL[first_S, :before])
        assert prefix is not None, "a backbone remembers either always or never"  # noqa: S101
        self._memory = self._memory.fitted(max(before, self._memory.positions))
        self._memory.write(slot_N, prefix, first_S.cumsum(0) - 1)

    def keep(self, rows: Tensor) -> None:
        """Drop the other rows' memory."""
        self._memory = self._memory.take(rows)

    def queries(self, rows: DecodingRows) -> Tensor:
        """Advance every row by its last item; see `Encoder.queries`."""
        self._memory = self._memory.fitted(rows.context_BL.shape[1])
        return self._backbone.advance(self._memory, rows.last_item(), rows.length_B - 1)
