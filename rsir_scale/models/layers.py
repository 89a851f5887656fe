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

    def forward_with_memory(self, x_BLD: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Mix positions, and return keys and values `[B, H, L, d]` with the output."""
        rows, positions, width = x_BLD.shape
        qkv = self.project_in(x_BLD).view(rows, positions, 3, self.heads, width // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        mixed = self._mix(query, key, value)
        out: Tensor = self.project_out(mixed.transpose(1, 2).reshape(rows, positions, width))
        return out, (key, value)

    def advance(self, x_BD: Tensor, key_BHLd: Tensor, value_BHLd: Tensor, position_B: Tensor) -> Tensor:
        """Mix one new position into what is remembered, and remember it; output `[B, D]`."""
        rows, width = x_BD.shape
        query, key, value = self.project_in(x_BD).view(rows, 3, self.heads, width // self.heads).unbind(1)
        row_B = torch.arange(rows, device=x_BD.device)
        key_BHLd[row_B, :, position_B] = key
        value_BHLd[row_B, :, position_B] = value
        seen = int(position_B.max()) + 1
        scores_BHL = (query[:, :, None] @ key_BHLd[:, :, :seen].transpose(2, 3))[:, :, 0] / math.sqrt(query.shape[-1])
        future_BL = torch.arange(seen, device=x_BD.device) > position_B[:, None]
        weights_BHL = scores_BHL.masked_fill(future_BL[:, None], float("-inf")).softmax(-1)
        mixed_BHd = (weights_BHL[:, :, None] @ value_BHLd[:, :, :seen])[:, :, 0]
        out_BD: Tensor = self.project_out(mixed_BHd.reshape(rows, width))
        return out_BD

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

    def forward_with_memory(self, x_BLD: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Map hidden states, and return the attention's keys and values with them."""
        mixed_BLD, key_value = self.attention.forward_with_memory(self._before_attention(x_BLD))
        return self._after_attention(x_BLD, mixed_BLD), key_value

    def advance(self, x_BD: Tensor, key_BHLd: Tensor, value_BHLd: Tensor, position_B: Tensor) -> Tensor:
        """Map the hidden state of one new position; see `CausalSelfAttention.advance`."""
        mixed_BD = self.attention.advance(self._before_attention(x_BD), key_BHLd, value_BHLd, position_B)
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
