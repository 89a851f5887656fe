"""The rows being decoded, as one table of tensors, and what is left of them when they end.

A row is one trial of one source sequence. Functions return new tables; nothing is changed in place.

Shapes: B rows, L context positions, R distinct own items.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from rsir_scale.randomness import Purpose, fold_into, uniforms_of

NO_NODE = -1


class StopReason(IntEnum):
    """Why a trial ended."""

    GOING = 0
    COMPLETE = 1
    FIDELITY = 2
    LENGTH = 3
    EXHAUSTED = 4


@dataclass(frozen=True)
class Evidence:
    """Why each item stands where it does: the outcome of its check, and the pool that it was chosen from.

    Attributes:
        better_BL: items of the catalogue that scored higher than the voucher; -1 where nothing was checked.
        voucher_BL: the own item that vouched; 0 where nothing was checked.
        explored_BL: whether the pool was the catalogue.
    """

    better_BL: Tensor
    voucher_BL: Tensor
    explored_BL: Tensor

    def checked(self, where_B: Tensor, position_B: Tensor, better_B: Tensor, voucher_B: Tensor) -> "Evidence":
        """Record the outcome of a check at one position of each row that `where_B` marks."""
        return replace(
            self,
            better_BL=put(self.better_BL, where_B, position_B, better_B),
            voucher_BL=put(self.voucher_BL, where_B, position_B, voucher_B),
        )

    def chosen(self, where_B: Tensor, position_B: Tensor, explored_B: Tensor) -> "Evidence":
        """Record the pool of a choice at one position of each row that `where_B` marks."""
        return replace(self, explored_BL=put(self.explored_BL, where_B, position_B, explored_B))


def put(table_BL: Tensor, where_B: Tensor, position_B: Tensor, value_B: Tensor) -> Tensor:
    """Return the table with a value at one position of each row that `where_B` marks."""
    # Other rows may name a position beyond the table.
    position_B1 = position_B[:, None].clamp(max=table_BL.shape[1] - 1)
    value_B1 = value_B[:, None].to(table_BL.dtype)
    return table_BL.scatter(1, position_B1, torch.where(where_B[:, None], value_B1, table_BL.gather(1, position_B1)))


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
        used_BR: own items in the context; once the row ends, one that failed its check as well.
        spent_BR: own items that vouch no more: those used and accepted, or of them those that were generated alone.
        proposed_B: whether the context's last item still awaits its check.
        faithful_B: whether the context before its last item is a prefix of the source.
        evidence: of the item at each position.
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
    spent_BR: Tensor
    proposed_B: Tensor
    faithful_B: Tensor
    evidence: Evidence
    stop_B: Tensor

    def __len__(self) -> int:
        return len(self.source_B)

    def take(self, rows: Tensor) -> "DecodingRows":
        """Return the rows of the given numbers."""
        return combine(lambda column: column.index_select(0, rows), self)

    def between(self, first: int, end: int) -> "DecodingRows":
        """Return the rows from `first` to before `end`, or as many of them as there are, as views."""
        return combine(lambda column: column[first:end], self)

    def replaced(self, rows: Tensor, other: "DecodingRows") -> "DecodingRows":
        """Return the table with the given rows (their numbers) taken from another one of equal width."""
        return combine(lambda column, others: column.index_copy(0, rows, others), self, other)

    def width_needed(self) -> int:
        """How many positions the longest source takes, and the longest context with one more item."""
        if not len(self):
            return 0
        used_L = (self.source_BL > 0).any(0)
        return max(int(used_L.sum()), int(self.length_B.max()) + 1)

    def resized(self, width: int) -> "DecodingRows":
        """Return the table with `width` positions; those cut off must be empty, and what is left are views."""
        more = width - self.context_BL.shape[1]
        if more == 0:
            return self
        if more < 0:
            return combine(lambda column: column[:, :width] if column.dim() == 2 else column, self)
        wide = combine(lambda column: F.pad(column, (0, more)) if column.dim() == 2 else column, self)
        evidence = replace(wide.evidence, better_BL=F.pad(self.evidence.better_BL, (0, more), value=-1))
        return replace(wide, node_BL=F.pad(self.node_BL, (0, more), value=NO_NODE), evidence=evidence)

    def last_item(self) -> Tensor:
        """Return the last item of each context."""
        return self.context_BL.gather(1, (self.length_B - 1)[:, None])[:, 0]

    def last_node(self) -> Tensor:
        """Return the node of the last item of each context."""
        return self.node_BL.gather(1, (self.length_B - 1)[:, None])[:, 0]

    def draws(self, *purposes: Purpose) -> list[Tensor]:
        """Draw numbers in [0, 1) for the item that follows each context, `[B]` float64 for each purpose."""
        key_B = fold_into(self.key_B.cpu().numpy().view(np.uint64), self.length_B.cpu().numpy())
        device = self.length_B.device
        return [torch.from_numpy(uniforms_of(fold_into(key_B, purpose))).to(device) for purpose in purposes]


Table = TypeVar("Table", Evidence, DecodingRows)


def combine(change: Callable[..., Tensor], *tables: Table) -> Table:
    """Make a table of what `change` makes of each column of the given ones, those of their evidence among them."""
    columns: list[Any] = [
        combine(change, *parts) if isinstance(parts[0], Evidence) else change(*parts)
        for parts in zip(*(vars(table).values() for table in tables), strict=True)
    ]
    return type(tables[0])(*columns)
