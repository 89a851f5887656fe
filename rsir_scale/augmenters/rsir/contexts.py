"""The distinct contexts of a batch, each encoded once: trials of a source that have gone the same way share it.

Contexts form a tree. A trial starts at a position of its source, which is a node; every item chosen leads to a node
below, the same for all trials that choose alike. A step encodes the nodes that are new: the positions of the sources
that begin, and one for each distinct (node, item) chosen. So a prefix is encoded once, however many trials start from
it, and nothing is copied when they part. What a row costs after that, encoding and searching, is asked for once a
context; which rows share one depends on what they hold, never on where they stand in the batch.

Shapes: B rows, U distinct contexts, G rows of a kind, S sources that begin, N new nodes, L positions, D width.
"""

from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from rsir_scale.augmenters.rsir.state import NO_NODE, DecodingRows
from rsir_scale.models.base import Backbone
from rsir_scale.models.memory import Memory


@dataclass(frozen=True)
class Contexts:
    """The distinct contexts of a batch.

    Attributes:
        row_U: one of the rows at each.
        context_B: which of them each row is at.
        query_UD: the query after each one's last item.
    """

    row_U: Tensor
    context_B: Tensor
    query_UD: Tensor


@dataclass(frozen=True)
class _NewNodes:
    """What is to be encoded: item, position and path of each new node; see `Backbone.advance`."""

    item_N: Tensor
    position_N: Tensor
    path_NL: Tensor


class Tree(Protocol):
    """Follows the rows of a batch as they begin and grow.

    Attributes:
        name: the implementation, as the manifest calls it.
    """

    name: str

    def grow(self, rows: DecodingRows) -> tuple[DecodingRows, Contexts]:
        """Encode what is new in rows of which each has just begun or has one more item; returns them with its nodes."""
        ...


class ContextTree:
    """Grows by what the rows add, in memory where the backbone has one, else by encoding each distinct context anew.

    Args:
        backbone: in evaluation mode.
        longest: items that a context may grow to; beyond `max_length` all positions shift, and nothing can be kept.
    """

    def __init__(self, backbone: Backbone, *, longest: int) -> None:
        self._backbone = backbone
        self._memory = backbone.memory() if longest <= backbone.max_length else None
        self._nodes = 0
        self.name = f"uncached/{backbone.encodes_in()}" if self._memory is None else f"tree/{self._memory.blocks.name}"

    def grow(self, rows: DecodingRows) -> tuple[DecodingRows, Contexts]:
        """Encode what is new; see `Tree`."""
        begun_B = rows.node_BL[:, 0] == NO_NODE
        begun_G, grown_G = begun_B.nonzero()[:, 0], (~begun_B).nonzero()[:, 0]
        child_G, row_K = self._children(rows, grown_G)
        source_G, prefix_SL, source_row_S = _prefixes(rows, begun_G)
        count = len(row_K) + int(prefix_SL.sum())
        rows, first = self._take(rows, ~begun_B, count)
        node_SL = first + len(row_K) + prefix_SL.flatten().cumsum(0).view_as(prefix_SL) - 1
        rows = _placed(rows, grown_G, first + child_G, begun_G, node_SL[source_G])
        tip_U, context_B = _distinct(rows.last_node() - first, count)
        row_U = torch.empty_like(tip_U)
        row_U[context_B] = torch.arange(len(rows), device=row_U.device)
        if self._memory is None:
            return rows, Contexts(row_U, context_B, self._encoded(rows.take(row_U)))
        new = _joined(_last_nodes(rows, row_K), _prefix_nodes(rows, source_row_S, prefix_SL, node_SL))
        query_ND = self._backbone.advance(self._memory, new.item_N, new.position_N, new.path_NL)
        return rows, Contexts(row_U, context_B, query_ND.index_select(0, tip_U))

    def _children(self, rows: DecodingRows, grown_G: Tensor) -> tuple[Tensor, Tensor]:
        """Number the distinct (node, item) that rows have gone on to; returns each row's number, and a row of each."""
        last_G1 = rows.length_B[grown_G, None] - 1
        parent_G = rows.node_BL[grown_G].gather(1, last_G1 - 1)[:, 0]
        key_G = parent_G * (self._backbone.item_count + 1) + rows.context_BL[grown_G].gather(1, last_G1)[:, 0]
        key_K, child_G = torch.unique(key_G, return_inverse=True)
        row_K = torch.empty_like(key_K)
        row_K[child_G] = grown_G
        return child_G, row_K

    def _take(self, rows: DecodingRows, grown_B: Tensor, count: int) -> tuple[DecodingRows, int]:
        """Take numbers for new nodes; where the memory is full, whatever no row needs any more leaves it first."""
        if self._memory is None:
            self._nodes += count
            return rows, self._nodes - count
        if not self._memory.has_room(count):
            rows = _kept(rows, grown_B, self._memory, count)
        return rows, self._memory.take(count)

    def _encoded(self, rows: DecodingRows) -> Tensor:
        """Encode contexts anew, the latest items of those that are longer than the backbone reads."""
        longest, most = int(rows.length_B.max()), self._backbone.max_length
        if longest <= most:
            return self._backbone.encode(rows.context_BL[:, :longest])
        first_U1 = (rows.length_B - most).clamp(min=0)[:, None]
        return self._backbone.encode(rows.context_BL.gather(1, first_U1 + torch.arange(most, device=first_U1.device)))


def _distinct(value_G: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the distinct values in rising order, and which of them each is; they lie in 0..count-1."""
    there_N = torch.zeros(count, dtype=torch.bool, device=value_G.device).index_fill_(0, value_G, True)
    return there_N.nonzero()[:, 0], (there_N.cumsum(0) - 1)[value_G]


def _prefixes(rows: DecodingRows, begun_G: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Group rows that begin by source, where they stand side by side.

    Returns:
        Each row's group, which positions of each group's source some row starts after, and a row of each group.
    """
    source_G, start_G = rows.source_B[begun_G], rows.start_B[begun_G]
    first_G = torch.ones_like(source_G, dtype=torch.bool)
    first_G[1:] = source_G[1:] != source_G[:-1]
    group_G = first_G.cumsum(0) - 1
    longest_S = torch.zeros(int(first_G.sum()), dtype=torch.int64, device=source_G.device)
    longest_S.scatter_reduce_(0, group_G, start_G, "amax")
    width = int(longest_S.max()) if len(longest_S) else 0
    return group_G, torch.arange(width, device=source_G.device) < longest_S[:, None], begun_G[first_G]


def _placed(
    rows: DecodingRows, grown_G: Tensor, node_G: Tensor, begun_G: Tensor, prefix_node_GL: Tensor
) -> DecodingRows:
    """Give rows their new nodes: one at the end of those that grew, all up to the start of those that begin."""
    node_BL = rows.node_BL.clone()
    node_BL[grown_G, rows.length_B[grown_G] - 1] = node_G
    before_GL = torch.arange(prefix_node_GL.shape[1], device=node_BL.device) < rows.start_B[begun_G, None]
    node_BL[begun_G, : prefix_node_GL.shape[1]] = torch.where(before_GL, prefix_node_GL, NO_NODE)
    return replace(rows, node_BL=node_BL)


def _last_nodes(rows: DecodingRows, row_K: Tensor) -> _NewNodes:
    position_K = rows.length_B[row_K] - 1
    item_K = rows.context_BL[row_K].gather(1, position_K[:, None])[:, 0]
    return _NewNodes(item_K, position_K, rows.node_BL[row_K])


def _prefix_nodes(rows: DecodingRows, row_S: Tensor, prefix_SL: Tensor, node_SL: Tensor) -> _NewNodes:
    source_N, position_N = prefix_SL.nonzero(as_tuple=True)
    return _NewNodes(rows.source_BL[row_S[source_N], position_N], position_N, node_SL[source_N])


def _joined(one: _NewNodes, other: _NewNodes) -> _NewNodes:
    path_NL = one.path_NL.new_zeros((len(one.item_N) + len(other.item_N), one.path_NL.shape[1]))
    path_NL[: len(one.item_N)] = one.path_NL.clamp(min=0)
    path_NL[len(one.item_N) :, : other.path_NL.shape[1]] = other.path_NL
    return _NewNodes(torch.cat([one.item_N, other.item_N]), torch.cat([one.position_N, other.position_N]), path_NL)


def _kept(rows: DecodingRows, grown_B: Tensor, memory: Memory, room: int) -> DecodingRows:
    """Keep the nodes that rows stand on, under new numbers, and make room."""
    place_L = torch.arange(rows.node_BL.shape[1], device=grown_B.device)
    needed_BL = grown_B[:, None] & (place_L < (rows.length_B - 1)[:, None])
    used_M = torch.zeros(memory.used, dtype=torch.bool, device=grown_B.device)
    used_M[rows.node_BL[needed_BL]] = True
    memory.keep(used_M.nonzero()[:, 0], room=room)
    number_M = torch.cat([used_M.cumsum(0) - 1, place_L[:1]])  # one more, so that an empty memory has a number to give
    renamed_BL = number_M[rows.node_BL.clamp(min=0)]
    return replace(rows, node_BL=torch.where(needed_BL, renamed_BL, rows.node_BL.clamp(max=NO_NODE)))
