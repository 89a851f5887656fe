"""HSTU: attention by a pointwise SiLU, gated, without feed-forward (Zhai et al., ICML 2024, arXiv 2402.17152).

As in the authors' code for public data, position vectors are added to the items', and the projection that leaves a
block starts from Glorot's uniform; a norm ends the stack. The authors score by the cosine, which is `model.similarity`.
"""

from typing import cast

from torch import nn

from rsir_scale.config.settings import ModelConfig
from rsir_scale.models.encoder import BlockEncoder
from rsir_scale.models.hstu_block import HSTUBlock


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
