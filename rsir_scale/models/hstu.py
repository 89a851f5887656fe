"""HSTU: attention by a pointwise SiLU, gated, without feed-forward (Zhai et al., ICML 2024, arXiv 2402.17152).

No softmax: each score goes through SiLU and is divided by `max_length`, so what a position reads does not depend on how
far the batch is padded. A learned bias says how far back an item lies; there are no times here. As in the authors' code
for public data, position vectors are added to the items', and the projection that leaves a block starts from Glorot's
uniform. Layer norms, without parameters, come first in a block and before its gate; a norm ends the stack. The authors
score by the cosine, which is `model.similarity`.

Shapes: B rows, N new positions, M nodes, L positions, D width, H heads, d width of a head.
"""

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rsir_scale.config.settings import ModelConfig
from rsir_scale.models.dropout import Dropout
from rsir_scale.models.encoder import INITIAL_STD, BlockEncoder
from rsir_scale.models.layers import Block, heads_apart, in_row_blocks, remember


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
        place_L = torch.arange(positions, device=x_BLD.device)
        weights_BHLL = self._weights(query @ key.transpose(-1, -2), place_L[:, None] - place_L)
        mixed_BLD = (weights_BHLL @ value).transpose(1, 2).reshape(rows, positions, width)
        return self._gated(x_BLD, gate_BLD, mixed_BLD)

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

        return self._gated(x_ND, gate_ND, in_row_blocks(mixed, seen_NL, x_ND.shape[1]))

    def _projected(self, x: Tensor) -> tuple[Tensor, ...]:
        return F.silu(self.project_in(F.layer_norm(x, x.shape[-1:]))).chunk(4, -1)

    def _weights(self, scores: Tensor, distance: Tensor) -> Tensor:
        """Weights of attention; a negative distance lies in the future and weighs nothing."""
        biased = scores + self.distance_bias[distance.clamp(min=0)]
        return (F.silu(biased) / self.max_length).masked_fill(distance < 0, 0.0)

    def _gated(self, x: Tensor, gate: Tensor, mixed: Tensor) -> Tensor:
        out: Tensor = self.project_out(self.dropout(gate * F.layer_norm(mixed, mixed.shape[-1:])))
        return x + out


class HSTU(BlockEncoder):
    """A stack of HSTU blocks; `model.feed_forward` and `model.norm` have no part in it."""

    def __init__(self, config: ModelConfig, *, item_count: int, max_length: int) -> None:
        super().__init__(config, item_count=item_count, max_length=max_length)
        for block in cast(list[HSTUBlock], list(self.blocks)):
            nn.init.xavier_uniform_(block.project_out.weight)

    def _new_block(self, config: ModelConfig) -> HSTUBlock:
        return HSTUBlock(width=config.width, heads=config.heads, max_length=self.max_length, dropout=config.dropout)

    def _new_final_norm(self, config: ModelConfig) -> nn.Module:
        return nn.LayerNorm(config.width)
