"""The rows being decoded, as one table of tensors, and what is left of them when they end.

A row is one trial of one source sequence. Functions return new tables; nothing is changed in place.

Shapes: B rows, L context positions, R distinct own items.
"""

from dataclasses import dataclass, fields, replace
from enum import IntEnum

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from rsir_scale.data.dataset import Sequences
from rsir_scale.generation.rules import Rules
from rsir_scale.models.inputs import pad_latest
from rsir_scale.randomness import Purpose, fold, fold_into, uniforms_of

Int64Array = npt.NDArray[np.int64]
NO_NODE = -1


class StopReason(IntEnum):
    """Why a trial ended."""

    GOING = 0
    COMPLETE = 1
    FIDELITY = 2
    LENGTH = 3
    EXHAUSTED = 4


@dataclass(frozen=True)
class Trials:
    """Trials that have not begun: rows of `sources` and trial numbers."""

    source: Int64Array
    trial: Int64Array

    def __len__(self) -> int:
        return len(self.source)

    def first(self, count: int) -> "Trials":
        """Return the first `count` trials, or all where there are fewer."""
        return Trials(self.source[:count], self.trial[:count])

    def after(self, count: int) -> "Trials":
        """Return the trials after the first `count`."""
        return Trials(self.source[count:], self.trial[count:])


@dataclass(frozen=True)
class DecodingRows:
    """Trials under way.

    Attributes:
        source_B: row of the source in its shard.
        trial_B: trial number, 0..m-1.
        key_B: hash of (seed, iteration, sequence_id of the source, trial), which keys the row's draws.
        context_BL: items so far, 0-padded on the right; a proposed item is its last one.
        length_B: items in the context, the proposed one included.
        start_B: items that the trial started with.
        limit_B: longest context allowed.
        source_BL: the source's items, 0-padded.
        node_BL: where the context's positions stand in the tree of contexts; `NO_NODE` where they do not yet.
        own_BR: the source's distinct items, by rising item index, with zeros among and after them.
        used_BR: own items in the context, a proposed one left out.
        proposed_B: whether the context's last item still awaits its check.
        faithful_B: whether the context before its last item is a prefix of the source.
        better_BL, voucher_BL, explored_BL: evidence of the item at each position (see `runs.columns`).
        stop_B: a `StopReason`.
    """

    source_B: Tensor
    trial_B: Tensor
    key_B: Tensor
    context_BL: Tensor
    length_B: Tensor
    start_B: Tensor
    limit_B: Tensor
    source_BL: Tensor
    node_BL: Tensor
    own_BR: Tensor
    used_BR: Tensor
    proposed_B: Tensor
    faithful_B: Tensor
    better_BL: Tensor
    voucher_BL: Tensor
    explored_BL: Tensor
    stop_B: Tensor

    def __len__(self) -> int:
        return len(self.source_B)

    def take(self, rows: Tensor) -> "DecodingRows":
        """Return the given rows (a mask or row numbers)."""
        return DecodingRows(*(getattr(self, field.name)[rows] for field in fields(self)))

    def replaced(self, rows: Tensor, other: "DecodingRows") -> "DecodingRows":
        """Return the table with the given rows (their numbers) taken from another one of equal width."""
        return DecodingRows(
            *(getattr(self, field.name).index_copy(0, rows, getattr(other, field.name)) for field in fields(self))
        )

    def width_needed(self) -> int:
        """How many positions the longest source takes, and the longest context with one more item."""
        return max(int((self.source_BL > 0).sum(1).max()), int(self.length_B.max()) + 1)

    def resized(self, width: int) -> "DecodingRows":
        """Return the table with `width` positions; those cut off must be empty."""
        if width == self.context_BL.shape[1]:
            return self
        empty = {"better_BL": -1, "node_BL": NO_NODE}
        columns = {
            name: F.pad(column, (0, width - column.shape[1]), value=empty.get(name, 0))
            for name, column in vars(self).items()
            if column.dim() == 2
        }
        return replace(self, **columns)

    def last_item(self) -> Tensor:
        """Return the last item of each context."""
        return self.context_BL.gather(1, (self.length_B - 1)[:, None])[:, 0]

    def last_node(self) -> Tensor:
        """Return the node of the last item of each context."""
        return self.node_BL.gather(1, (self.length_B - 1)[:, None])[:, 0]

    def draw(self, purpose: Purpose) -> Tensor:
        """Draw one number in [0, 1) a row, for the item that follows its context; float64."""
        key_B = self.key_B.cpu().numpy().view(np.uint64)
        drawn_B = uniforms_of(fold_into(key_B, self.length_B.cpu().numpy(), purpose))
        return torch.from_numpy(drawn_B).to(self.length_B.device)


def begin(
    sources: Sequences, trials: Trials, rules: Rules, *, identity: tuple[int, int], width: int, device: torch.device
) -> DecodingRows:
    """Set up trials at their start.

    Args:
        sources: the shard's source sequences, each of 2 items or more.
        trials: which of them to begin.
        rules: where a context starts and how long it may grow.
        identity: (seed, iteration).
        width: L and R of the tables; at least every source's length.
        device: where the tables go.
    """
    source_BL = _widened(pad_latest(sources, trials.source, max_length=width), width).to(device)
    length = sources.lengths[trials.source]
    key = fold(*identity, sources.ids[trials.source], trials.trial)
    start = np.ones_like(length)
    if rules.start_at_prefix:
        draw = uniforms_of(fold_into(key, 0, Purpose.START))
        start = 1 + np.floor(draw * (length - 1)).astype(np.int64)
    limit = length if rules.max_length is None else np.full_like(length, rules.max_length)
    start_B = torch.from_numpy(start).to(device)
    positions_L = torch.arange(width, device=device)
    context_BL = torch.where(positions_L < start_B[:, None], source_BL, 0)
    own_BR = _distinct(source_BL)
    rows = len(length)
    nothing_BL = torch.zeros((rows, width), dtype=torch.int32, device=device)
    return DecodingRows(
        source_B=torch.from_numpy(trials.source).to(device),
        trial_B=torch.from_numpy(trials.trial).to(device),
        key_B=torch.from_numpy(key.view(np.int64)).to(device),
        context_BL=context_BL,
        length_B=start_B.clone(),
        start_B=start_B,
        limit_B=torch.from_numpy(limit).to(device),
        source_BL=source_BL,
        node_BL=torch.full_like(source_BL, NO_NODE),
        own_BR=own_BR,
        used_BR=(own_BR[:, :, None] == context_BL[:, None, :]).any(2) & (own_BR > 0),
        proposed_B=torch.zeros(rows, dtype=torch.bool, device=device),
        faithful_B=torch.ones(rows, dtype=torch.bool, device=device),
        better_BL=torch.full_like(nothing_BL, -1),
        voucher_BL=nothing_BL,
        explored_BL=nothing_BL.bool(),
        stop_B=torch.zeros(rows, dtype=torch.int64, device=device),
    )


def _distinct(items_BL: Tensor) -> Tensor:
    """Order the items of each row, padding last, and blank every repeat."""
    padding = torch.iinfo(items_BL.dtype).max
    sorted_BL = items_BL.masked_fill(items_BL == 0, padding).sort(1).values
    repeats_BL = F.pad(sorted_BL[:, 1:] == sorted_BL[:, :-1], (1, 0))
    return sorted_BL.masked_fill(repeats_BL | (sorted_BL == padding), 0)


def _widened(items_BL: Tensor, width: int) -> Tensor:
    return F.pad(items_BL, (0, width - items_BL.shape[1]))
