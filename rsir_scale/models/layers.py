"""Transformer layers for right-padded, causal contexts.

With padding on the right, the causal mask alone keeps padding out of every real position, so attention needs no
key-padding mask and takes the fused kernels' fast path.

Shapes: B rows, L positions, D width, H heads.
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
        rows, positions, width = x_BLD.shape
        qkv = self.project_in(x_BLD).view(rows, positions, 3, self.heads, width // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        mixed = self._mix(query, key, value)
        out: Tensor = self.project_out(mixed.transpose(1, 2).reshape(rows, positions, width))
        return out

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
        out_BLD: Tensor
        if self.norm_first:
            mixed_BLD = x_BLD + self.dropout(self.attention(self.attention_norm(x_BLD)))
            out_BLD = mixed_BLD + self._feed_forward(self.feed_forward_norm(mixed_BLD))
        else:
            mixed_BLD = self.attention_norm(x_BLD + self.dropout(self.attention(x_BLD)))
            out_BLD = self.feed_forward_norm(mixed_BLD + self._feed_forward(mixed_BLD))
        return out_BLD

    def _feed_forward(self, x_BLD: Tensor) -> Tensor:
        out_BLD: Tensor = self.dropout(self.contract(self.dropout(F.gelu(self.expand(x_BLD)))))
        return out_BLD
