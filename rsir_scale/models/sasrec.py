"""SASRec: a causal Transformer over item and position embeddings (Kang and McAuley, ICDM 2018).

Queries and items share one embedding table. Layer norm comes after each sub-layer, as in the paper's setting, or before
it with a final norm, which trains better with strong dropout.
"""

from typing import cast

from torch import nn

from rsir_scale.config.settings import ModelConfig
from rsir_scale.models.compiled import CompiledBlocks, takes
from rsir_scale.models.encoder import BlockEncoder
from rsir_scale.models.layers import TransformerBlock
from rsir_scale.models.memory import Memory


class SASRec(BlockEncoder):
    """The backbone of the paper's Table 1."""

    def _new_block(self, config: ModelConfig) -> TransformerBlock:
        return TransformerBlock(
            width=config.width,
            heads=config.heads,
            feed_forward=config.feed_forward,
            dropout=config.dropout,
            norm=config.norm,
        )

    def _new_final_norm(self, config: ModelConfig) -> nn.Module:
        return nn.LayerNorm(config.width) if config.norm == "pre" else nn.Identity()

    def memory(self) -> Memory:
        """Return an empty memory; see `Backbone.memory`."""
        blocks = cast(list[TransformerBlock], list(self.blocks))
        if not takes(blocks):
            return super().memory()
        return Memory(CompiledBlocks(blocks), like_D=self.positions.weight[0])
