"""What a causal backbone remembers of positions, each kept once, however many contexts it is part of.

A position with its context before it is a node; a context is the path of nodes that leads to its last item. Contexts
that begin alike share nodes, and one more item costs one node: nothing is copied when a context forks.

Shapes: K blocks, M nodes that there is room for, N new nodes, L positions, D width.
"""

from typing import Protocol

import torch
from torch import Tensor

_LEAST_ROOM = 1024


class Blocks(Protocol):
    """The blocks of a backbone, as they take new positions through.

    Attributes:
        name: the implementation.
        count: K.
    """

    name: str
    count: int

    def advance(self, x_ND: Tensor, memory: "Memory", position_N: Tensor, path_NL: Tensor) -> Tensor:
        """Return the hidden states `[N, D]` after the last block, and write keys and values to the memory.

        Args:
            x_ND: what goes into the first block.
            memory: of the positions before; see `Backbone.advance` for it and the others.
            position_N: int64.
            path_NL: int64.
        """
        ...


class Memory:
    """Keys and values by node, and the blocks that they are of.

    Attributes:
        blocks: what reads and writes them.
        key_KMD, value_KMD: rows taken are 0 until they are written; rows at and after `used` hold anything.
        used: nodes so far.
    """

    def __init__(self, blocks: Blocks, *, like_D: Tensor) -> None:
        """Start empty, on the device and in the precision of `like_D`, a vector of D values."""
        self.blocks = blocks
        self.key_KMD = like_D.new_empty((blocks.count, 0, len(like_D)))
        self.value_KMD = like_D.new_empty((blocks.count, 0, len(like_D)))
        self.used = 0

    def has_room(self, nodes: int) -> bool:
        """Whether so many more can be taken without another call of `keep`."""
        return self.used + nodes <= self.key_KMD.shape[1]

    def take(self, nodes: int) -> int:
        """Take the next nodes, which must have room, and return the number of the first.

        They are 0 until written. A path may name a node ahead of its time; its weight is 0, which undoes any number
        but NaN.
        """
        first = self.used
        self.used += nodes
        self.key_KMD[:, first : self.used] = 0
        self.value_KMD[:, first : self.used] = 0
        return first

    def keep(self, node_N: Tensor, *, room: int) -> None:
        """Let go of all nodes but these, number them 0..N-1 in the order given, and make room for more.

        Args:
            node_N: int64, distinct.
            room: how many are to come next; there will be room for some such calls.
        """
        self.used = len(node_N)
        capacity = max(_LEAST_ROOM, 4 * (self.used + room))
        self.key_KMD, self.value_KMD = (_moved(pool, node_N, capacity) for pool in (self.key_KMD, self.value_KMD))


def _moved(pool_KMD: Tensor, node_N: Tensor, capacity: int) -> Tensor:
    blocks, _, width = pool_KMD.shape
    moved_KMD = pool_KMD.new_empty((blocks, capacity, width))
    torch.index_select(pool_KMD, 1, node_N, out=moved_KMD[:, : len(node_N)])
    return moved_KMD
