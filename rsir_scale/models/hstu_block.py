"""HSTU's block (Zhai et al., ICML 2024, arXiv 2402.17152).

No softmax: each score goes through SiLU and is divided by `max_length`, so what a position reads does not depend on how
far the batch is padded. A learned bias says how far back an item lies; there are no times here. Layer norms, without
parameters, come first in a block and before its gate.

Shapes: B rows, N new positions, M nodes, L positions, T tokens, P rows of a part, D width, H heads, d width of a head.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rsir_scale.models.dropout import Dropout
from rsir_scale.models.layers import INITIAL_STD, Block, heads_apart, in_row_blocks, remember
from rsir_scale.models.packed import Drops, PackedContexts


class HSTUBlock(Block):
    """One unit: projection to gate, value, query and key; attention; gating; projection back, with a residual."""

    def __init__(self, *, width: int, heads: int, max_length: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.max_length = max_length
        self.project_in = nn.Linear(width, 4 * width, bias=False)
        self.project_out = nn.Linear(width, width)
        self.distance_bias = nn.Parameter(torch.empty(max_length).normal_(std=INITIAL_STD))
        self.dropout = Dropout(dropout)

    def forward(self, x_BLD: Tensor) -> Tensor:
        """Map hidden states; see `layers.Block`."""
        rows, positions, width = x_BLD.shape
        gate_BLD, *parts = self._projected(x_BLD)
        value, query, key = (part.view(rows, positions, self.heads, -1).transpose(1, 2) for part in parts)
        mixed_BLD = self._mixed(value, query, key).transpose(1, 2).reshape(rows, positions, width)
        return self._gated(x_BLD, gate_BLD, mixed_BLD, self.dropout)

    def advance(self, x_ND: Tensor, key_MD: Tensor, value_MD: Tensor, position_N: Tensor, path_NL: Tensor) -> Tensor:
        """Map those of new positions; see `layers.Block`."""
        gate_ND, new_value_ND, query_ND, new_key_ND = self._projected(x_ND)
        remember(key_MD, value_MD, new_key_ND, new_value_ND, position_N, path_NL)
        seen_NL = path_NL[:, : int(position_N.max()) + 1]
        own_HD = heads_apart(x_ND, self.heads)

        def mixed(rows: slice) -> Tensor:
            path_NL = seen_NL[rows]
            scores_NHL = torch.bmm(query_ND[rows, None] * own_HD, key_MD[path_NL].transpose(1, 2))
            distance_NL = position_N[rows, None] - torch.arange(path_NL.shape[1], device=x_ND.device)
            mixed_NHD = torch.bmm(self._weights(scores_NHL, distance_NL[:, None]), value_MD[path_NL])
            return (mixed_NHD * own_HD).sum(1)

        return self._gated(x_ND, gate_ND, in_row_blocks(mixed, seen_NL, x_ND.shape[1]), self.dropout)

    def packed(self, x_TD: Tensor, contexts: PackedContexts, drops: Drops) -> Tensor:
        """Map those of packed contexts; see `layers.Block`."""
        gate_TD, *parts = self._projected(x_TD)
        mixed = []
        for token_PL, real_PL in contexts.rectangles():
            value, query, key = (part[token_PL].view(*token_PL.shape, self.heads, -1).transpose(1, 2) for part in parts)
            mixed.append(self._mixed(value, query, key).transpose(1, 2)[real_PL].flatten(1))
        return self._gated(x_TD, gate_TD, torch.cat(mixed), lambda gated_TD: drops.at(0, gated_TD))

    def _mixed(self, value: Tensor, query: Tensor, key: Tensor) -> Tensor:
        place_L = torch.arange(query.shape[-2], device=query.device)
        return self._weights(query @ key.transpose(-1, -2), place_L[:, None] - place_L) @ value

    def _projected(self, x: Tensor) -> tuple[Tensor, ...]:
        return F.silu(self.project_in(F.layer_norm(x, x.shape[-1:]))).chunk(4, -1)

    def _weights(self, scores: Tensor, distance: Tensor) -> Tensor:
        """Weights of attention; a negative distance lies in the future and weighs nothing."""
        biased = scores + self.distance_bias[distance.clamp(min=0)]
        return (F.silu(biased) / self.max_length).masked_fill(distance < 0, 0.0)

    def _gated(self, x: Tensor, gate: Tensor, mixed: Tensor, drop: Callable[[Tensor], Tensor]) -> Tensor:
        out: Tensor = self.project_out(drop(gate * F.layer_norm(mixed, mixed.shape[-1:])))
        return x + out
