"""Transformer layers for right-padded, causal contexts.

With padding on the right, the causal mask alone keeps padding out of every real position, so attention needs no
key-padding mask, and outside training it takes the fused kernels' fast path.

Shapes: B rows, N new positions, M nodes, L positions, D width, H heads, d width of a head.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rsir_scale.models.dropout import Dropout
from rsir_scale.models.memory import Memory
from rsir_scale.models.packed import Drops, PackedContexts

INITIAL_STD = 0.02
# Drops elements at a place of the block.
_Drop = Callable[[int, Tensor], Tensor]
_GATHERED = 1 << 24  # numbers of keys, or of values, that are copied out of the memory at once


class Block(nn.Module, ABC):
    """A causal block: it takes whole contexts through, or new positions of contexts that it remembers."""

    @abstractmethod
    def forward(self, x_BLD: Tensor) -> Tensor:
        """Map hidden states to hidden states of the same shape; a position reads itself and those before it."""

    @abstractmethod
    def advance(self, x_ND: Tensor, key_MD: Tensor, value_MD: Tensor, position_N: Tensor, path_NL: Tensor) -> Tensor:
        """Map the hidden states `[N, D]` of new positions, and write their keys and values to their nodes.

        Args:
            x_ND: hidden states of the new positions.
            key_MD, value_MD: what the block remembers of each node; changed in place.
            position_N: as of `Backbone.advance`.
            path_NL: as of `Backbone.advance`.
        """

    @abstractmethod
    def packed(self, x_TD: Tensor, contexts: PackedContexts, drops: Drops) -> Tensor:
        """Map the hidden states `[T, D]` of packed contexts, with the dropout that belongs to their tokens.

        Args:
            x_TD: hidden states.
            contexts: which contexts they are of.
            drops: those of the block.
        """


class CausalSelfAttention(nn.Module):
    """Multi-head scaled dot-product attention over earlier positions (Vaswani et al., 2017)."""

    def __init__(self, *, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = Dropout(dropout)
        self.project_in = nn.Linear(width, 3 * width)
        self.project_out = nn.Linear(width, width)

    def forward(self, x_BLD: Tensor) -> Tensor:
        """Mix positions; output has the input's shape."""
        mixed_BHLd = self._mix(*(self._split(part) for part in self.project_in(x_BLD).chunk(3, -1)))
        out_BLD: Tensor = self.project_out(mixed_BHLd.transpose(1, 2).reshape(x_BLD.shape))
        return out_BLD

    def advance(self, x_ND: Tensor, key_MD: Tensor, value_MD: Tensor, position_N: Tensor, path_NL: Tensor) -> Tensor:
        """Mix the positions of their paths into new ones, and remember those; output `[N, D]`.

        All heads of a row share one product with its keys: a query that is zero outside its head gives the head's
        scores. That doubles the work and still is faster than so many products of single rows.
        """
        width = x_ND.shape[1]
        head = width // self.heads
        query_ND, new_key_ND, new_value_ND = self.project_in(x_ND).chunk(3, -1)
        remember(key_MD, value_MD, new_key_ND, new_value_ND, position_N, path_NL)
        seen_NL = path_NL[:, : int(position_N.max()) + 1]
        own_HD = heads_apart(x_ND, self.heads)

        def mixed(rows: slice) -> Tensor:
            path_NL = seen_NL[rows]
            query_NHD = query_ND[rows, None] * (own_HD / math.sqrt(head))
            scores_NHL = torch.bmm(query_NHD, key_MD[path_NL].transpose(1, 2))
            future_NL = torch.arange(path_NL.shape[1], device=x_ND.device) > position_N[rows, None]
            weights_NHL = _softmax(scores_NHL.masked_fill_(future_NL[:, None], float("-inf")))
            return (torch.bmm(weights_NHL, value_MD[path_NL]) * own_HD).sum(1)

        out_ND: Tensor = self.project_out(in_row_blocks(mixed, seen_NL, width))
        return out_ND

    def packed(self, x_TD: Tensor, contexts: PackedContexts, drops: Drops) -> Tensor:
        """Mix the positions of each context; output `[T, D]`."""
        projected_TE = self.project_in(x_TD)
        mixed = []
        for token_PL, real_PL in contexts.rectangles():
            query, key, value = (self._split(part) for part in projected_TE[token_PL].chunk(3, -1))
            weights_PHLL = drops.of_weights(0, self._weights(query, key), token_PL)
            mixed.append((weights_PHLL @ value).transpose(1, 2)[real_PL].flatten(1))
        out_TD: Tensor = self.project_out(torch.cat(mixed))
        return out_TD

    def _split(self, x_BLD: Tensor) -> Tensor:
        rows, positions, width = x_BLD.shape
        return x_BLD.view(rows, positions, self.heads, width // self.heads).transpose(1, 2)

    def _mix(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        if not self.training:
            return F.scaled_dot_product_attention(query, key, value, is_causal=True)
        weights: Tensor = self.dropout(self._weights(query, key))
        return weights @ value

    def _weights(self, query: Tensor, key: Tensor) -> Tensor:
        positions = query.shape[-2]
        future = torch.ones((positions, positions), dtype=torch.bool, device=query.device).triu(1)
        scores = (query / math.sqrt(query.shape[-1])) @ key.transpose(-1, -2)
        return scores.masked_fill(future, float("-inf")).softmax(-1)


class TransformerBlock(Block):
    """Attention and feed-forward, each with a residual; layer norm after them (post) or before them (pre)."""

    def __init__(
        self, *, width: int, heads: int, feed_forward: int, dropout: float, norm: Literal["post", "pre"]
    ) -> None:
        super().__init__()
        self.norm_first = norm == "pre"
        self.attention = CausalSelfAttention(width=width, heads=heads, dropout=dropout)
        self.expand = nn.Linear(width, feed_forward)
        self.contract = nn.Linear(feed_forward, width)
        self.attention_norm = nn.LayerNorm(width)
        self.feed_forward_norm = nn.LayerNorm(width)
        self.dropout = Dropout(dropout)

    def forward(self, x_BLD: Tensor) -> Tensor:
        """Map hidden states; see `Block`."""
        return self._after_attention(x_BLD, self.attention(self._before_attention(x_BLD)), self._drop)

    def advance(self, x_ND: Tensor, key_MD: Tensor, value_MD: Tensor, position_N: Tensor, path_NL: Tensor) -> Tensor:
        """Map those of new positions; see `Block`."""
        mixed_ND = self.attention.advance(self._before_attention(x_ND), key_MD, value_MD, position_N, path_NL)
        return self._after_attention(x_ND, mixed_ND, self._drop)

    def packed(self, x_TD: Tensor, contexts: PackedContexts, drops: Drops) -> Tensor:
        """Map those of packed contexts; see `Block`."""
        mixed_TD = self.attention.packed(self._before_attention(x_TD), contexts, drops)
        return self._after_attention(x_TD, mixed_TD, drops.at)

    def _drop(self, place: int, x: Tensor) -> Tensor:  # noqa: ARG002 - torch's draws go by order
        dropped: Tensor = self.dropout(x)
        return dropped

    def _before_attention(self, x: Tensor) -> Tensor:
        return self.attention_norm(x) if self.norm_first else x

    def _after_attention(self, x: Tensor, mixed: Tensor, drop: _Drop) -> Tensor:
        x = x + drop(1, mixed)
        if self.norm_first:
            return x + self._feed_forward(self.feed_forward_norm(x), drop)
        x = self.attention_norm(x)
        out: Tensor = self.feed_forward_norm(x + self._feed_forward(x, drop))
        return out

    def _feed_forward(self, x: Tensor, drop: _Drop) -> Tensor:
        return drop(3, self.contract(drop(2, F.gelu(self.expand(x)))))


class PlainBlocks:
    """Blocks that advance in torch, on any device and in any precision; see `memory.Blocks`."""

    name = "torch"

    def __init__(self, blocks: Sequence[Block]) -> None:
        self.count = len(blocks)
        self._blocks = blocks

    def advance(self, x_ND: Tensor, memory: Memory, position_N: Tensor, path_NL: Tensor) -> Tensor:
        """Take new positions through all blocks; see `memory.Blocks`."""
        for block, key_MD, value_MD in zip(self._blocks, memory.key_KMD, memory.value_KMD, strict=True):
            x_ND = block.advance(x_ND, key_MD, value_MD, position_N, path_NL)
        return x_ND


def remember(
    key_MD: Tensor, value_MD: Tensor, new_key_ND: Tensor, new_value_ND: Tensor, position_N: Tensor, path_NL: Tensor
) -> None:
    """Write keys and values of new positions to their nodes, the ends of their paths."""
    node_N = path_NL.gather(1, position_N[:, None])[:, 0]
    key_MD[node_N] = new_key_ND
    value_MD[node_N] = new_value_ND


def in_row_blocks(of: Callable[[slice], Tensor], path_NL: Tensor, width: int) -> Tensor:
    """Put `of(rows)` together, of so many rows at a time that the keys of their paths take some tens of megabytes."""
    rows, positions = path_NL.shape
    size = max(1, _GATHERED // (positions * width))
    if rows <= size:
        return of(slice(0, rows))
    return torch.cat([of(slice(start, start + size)) for start in range(0, rows, size)])


def heads_apart(like: Tensor, heads: int) -> Tensor:
    """Return `[H, D]`, 1 where a column belongs to the head and 0 elsewhere, of the precision and device of `like`."""
    return torch.eye(heads, dtype=like.dtype, device=like.device).repeat_interleave(like.shape[-1] // heads, 1)


def _softmax(scores: Tensor) -> Tensor:
    """Softmax over the last dimension, in place; for a few columns it is many times faster than torch's on a CPU."""
    weights = scores.sub_(scores.amax(-1, keepdim=True)).exp_()
    return weights.div_(weights.sum(-1, keepdim=True))
