"""SASRec: a causal Transformer over item and position embeddings (Kang and McAuley, ICDM 2018).

Queries and items share one embedding table. Layer norm comes after each sub-layer, as in the paper's setting, or before
it with a final norm, which trains better with strong dropout. All weights start from N(0, 0.02).

Shapes: B rows, N new positions, L positions, D width, V items.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from rsir_scale.config import ModelConfig
from rsir_scale.models.base import Backbone
from rsir_scale.models.compiled import CompiledBlocks, takes
from rsir_scale.models.dropout import Dropout
from rsir_scale.models.layers import PlainBlocks, TransformerBlock
from rsir_scale.models.memory import Memory

_INITIAL_STD = 0.02


class SASRec(Backbone):
    """The backbone of the paper's Table 1; sizes come from `ModelConfig`."""

    def __init__(self, config: ModelConfig, *, item_count: int, max_length: int) -> None:
        super().__init__(item_count=item_count, max_length=max_length, width=config.width)
        self.items = nn.Embedding(item_count + 1, config.width, padding_idx=0)
        self.positions = nn.Embedding(max_length, config.width)
        self.dropout = Dropout(config.dropout)
        self.blocks = nn.ModuleList(
            TransformerBlock(
                width=config.width,
                heads=config.heads,
                feed_forward=config.feed_forward,
                dropout=config.dropout,
                norm=config.norm,
            )
            for _ in range(config.blocks)
        )
        self.final_norm = nn.LayerNorm(config.width) if config.norm == "pre" else nn.Identity()
        self.apply(_initialise)

    def hidden(self, context_BL: Tensor) -> Tensor:
        """Return the query after each position; see `Backbone.hidden`."""
        x_BLD = self._embed(context_BL, torch.arange(context_BL.shape[1], device=context_BL.device))
        for block in self._blocks():
            x_BLD = block(x_BLD)
        hidden_BLD: Tensor = self.final_norm(x_BLD)
        return hidden_BLD

    def memory(self) -> Memory:
        """Return an empty memory; see `Backbone.memory`."""
        blocks = list(self._blocks())
        return Memory(CompiledBlocks(blocks) if takes(blocks) else PlainBlocks(blocks), like_D=self.items.weight[0])

    def advance(self, memory: Memory, item_N: Tensor, position_N: Tensor, path_NL: Tensor) -> Tensor:
        """Encode more positions; see `Backbone.advance`."""
        x_ND = self._embed(item_N, position_N)
        query_ND: Tensor = self.final_norm(memory.blocks.advance(x_ND, memory, position_N, path_NL))
        return query_ND

    def item_vectors(self) -> Tensor:
        """Return the shared embedding table; see `Backbone.item_vectors`."""
        return self.items.weight

    def vectors_of(self, item: Tensor) -> Tensor:
        """Return some rows of the table; see `Backbone.vectors_of`."""
        vectors: Tensor = self.items(item)
        return vectors

    def item_embedding(self) -> nn.Embedding:
        """Return the shared embedding; see `Backbone.item_embedding`."""
        return self.items

    def _blocks(self) -> Iterator[TransformerBlock]:
        for block in self.blocks:
            assert isinstance(block, TransformerBlock)  # noqa: S101
            yield block

    def _embed(self, item: Tensor, position: Tensor) -> Tensor:
        embedded: Tensor = self.dropout(self.items(item) + self.positions(position))
        return embedded


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=_INITIAL_STD)
    if isinstance(module, nn.Embedding) and module.padding_idx is not None:
        with torch.no_grad():
            module.weight[module.padding_idx].zero_()
    if isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)
