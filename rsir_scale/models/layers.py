"""Transformer layers for right-padded, causal contexts.

With padding on the right, the causal mask alone keeps padding out of every real position, so attention needs no
key-padding mask and takes the fused kernels' fast path.

Shapes: B rows, L positions, D width, H heads, d width of a head.
"""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rsir_scale.models.dropout import Dropout

KeyValue = tuple[Tensor, Tensor]


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
        return self.forward_with_memory(x_BLD)[0]

    def forward_with_memory(self, x_BLD: Tensor) -> tuple[Tensor, KeyValue]:
        """Mix positions, and return the keys and values `[B, L, D]` of all heads with the output."""
        query_BLD, key_BLD, value_BLD = self.project_in(x_BLD).chunk(3, -1)
        mixed_BHLd = self._mix(*(self._split(part) for part in (query_BLD, key_BLD, value_BLD)))
        out: Tensor = self.project_out(mixed_BHLd.transpose(1, 2).reshape(x_BLD.shape))
        return out, (key_BLD, value_BLD)

    def keys_values(self, x_BLD: Tensor) -> KeyValue:
        """Return keys and values `[B, L, D]` alone."""
        _, key_BLD, value_BLD = self.project_in(x_BLD).chunk(3, -1)
        return key_BLD, value_BLD

    def advance(self, x_BD: Tensor, key_BLD: Tensor, value_BLD: Tensor, position_B: Tensor) -> Tensor:
        """Mix one new position into what is remembered, and remember it; output `[B, D]`.

        All heads of a row share one product with its keys: a query that is zero outside its head gives the head's
        scores. That doubles the work and still is faster than so many products of single rows.
        """
        rows, width = x_BD.shape
        head = width // self.heads
        query_BD, new_key_BD, new_value_BD = self.project_in(x_BD).chunk(3, -1)
        row_B = torch.arange(rows, device=x_BD.device)
        key_BLD[row_B, position_B] = new_key_BD
        value_BLD[row_B, position_B] = new_value_BD
        seen = int(position_B.max()) + 1
        own_HD = torch.eye(self.heads, dtype=x_BD.dtype, device=x_BD.device).repeat_interleave(head, 1)
        query_BHD = query_BD[:, None] * (own_HD / math.sqrt(head))
        scores_BHL = torch.bmm(query_BHD, key_BLD[:, :seen].transpose(1, 2))
        future_BL = torch.arange(seen, device=x_BD.device) > position_B[:, None]
        weights_BHL = _softmax(scores_BHL.masked_fill_(future_BL[:, None], float("-inf")))
        mixed_BHD = torch.bmm(weights_BHL, value_BLD[:, :seen])
        out_BD: Tensor = self.project_out((mixed_BHD * own_HD).sum(1))
        return out_BD

    def _split(self, x_BLD: Tensor) -> Tensor:
        rows, positions, width = x_BLD.shape
        return x_BLD.view(rows, positions, self.heads, width // self.heads).transpose(1, 2)

    def _mix(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        if not self.training:
            return F.scaled_dot_product_attention(query, key, value, is_causal=True)
        positions = query.shape[-2]
        future = torch.ones((positions, positions), dtype=torch.bool, device=query.device).triu(1)
        scores = (query / math.sqrt(query.shape[-1])) @ key.transpose(-1, -2)
        weights: Tensor = self.dropout(scores.masked_fill(future, float("-inf")).softmax(-1))
        return weights @ value


class TransformerBlock(nn.Module):
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
        """Map hidden states to hidden states of the same shape."""
        return self.forward_with_memory(x_BLD)[0]

    def forward_with_memory(self, x_BLD: Tensor) -> tuple[Tensor, KeyValue]:
        """Map hidden states, and return the attention's keys and values with them."""
        mixed_BLD, key_value = self.attention.forward_with_memory(self._before_attention(x_BLD))
        return self._after_attention(x_BLD, mixed_BLD), key_value

    def keys_values(self, x_BLD: Tensor) -> KeyValue:
        """Return the attention's keys and values alone."""
        return self.attention.keys_values(self._before_attention(x_BLD))

    def advance(self, x_BD: Tensor, key_BLD: Tensor, value_BLD: Tensor, position_B: Tensor) -> Tensor:
        """Map the hidden state of one new position; see `CausalSelfAttention.advance`."""
        mixed_BD = self.attention.advance(self._before_attention(x_BD), key_BLD, value_BLD, position_B)
        return self._after_attention(x_BD, mixed_BD)

    def _before_attention(self, x: Tensor) -> Tensor:
        return self.attention_norm(x) if self.norm_first else x

    def _after_attention(self, x: Tensor, mixed: Tensor) -> Tensor:
        x = x + self.dropout(mixed)
        if self.norm_first:
            return x + self._feed_forward(self.feed_forward_norm(x))
        x = self.attention_norm(x)
        out: Tensor = self.feed_forward_norm(x + self._feed_forward(x))
        return out

    def _feed_forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.dropout(self.contract(self.dropout(F.gelu(self.expand(x)))))
        return out


def _softmax(scores: Tensor) -> Tensor:
    """Softmax over the last dimension, in place; for a few columns it is many times faster than torch's on a CPU."""
    weights = scores.sub_(scores.amax(-1, keepdim=True)).exp_()
    return weights.div_(weights.sum(-1, keepdim=True))
