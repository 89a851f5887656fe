"""What the causal backbones share: item and position vectors in, a stack of blocks, a query out.

A backbone says what its item vectors and its blocks are. Weights of linear layers and embeddings start from N(0, 0.02).
With `model.similarity: cosine` queries and item vectors leave the backbone with length temperature^-1/2, so that their
inner product is the cosine over the temperature, and nobody else has to know; what the blocks read is not scaled.

Shapes: B rows, N new positions, L positions, T tokens, D width, V items.
"""

import math
from abc import abstractmethod
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rsir_scale.config.settings import ModelConfig
from rsir_scale.models import compiled_packed
from rsir_scale.models.base import Backbone
from rsir_scale.models.dropout import Dropout
from rsir_scale.models.layers import INITIAL_STD, Block, PlainBlocks
from rsir_scale.models.memory import Memory
from rsir_scale.models.packed import Drops, PackedContexts


class BlockEncoder(Backbone):
    """A stack of causal blocks over item and position vectors; sizes come from `ModelConfig`."""

    def __init__(self, config: ModelConfig, *, item_count: int, max_length: int) -> None:
        super().__init__(item_count=item_count, max_length=max_length, width=config.width)
        # Vaswani et al. (2017), Sec. 3.4.
        self._scale = math.sqrt(config.width) if config.embedding_scale else 1.0
        # The length of what leaves the backbone; None: as it comes.
        self._length = 1.0 / math.sqrt(config.temperature) if config.similarity == "cosine" else None
        self.items = self._new_items(config)
        self.positions = nn.Embedding(max_length, config.width)
        self.dropout = Dropout(config.dropout)
        self.blocks = nn.ModuleList(self._new_block(config) for _ in range(config.blocks))
        self.final_norm = self._new_final_norm(config)
        self.apply(initialise)

    def _new_items(self, config: ModelConfig) -> nn.Module:
        """Make what gives an item's vector; its own embedding, where a backbone says nothing else."""
        return nn.Embedding(self.item_count + 1, config.width, padding_idx=0)

    @abstractmethod
    def _new_block(self, config: ModelConfig) -> Block:
        """Make one of the blocks, which are all alike."""

    @abstractmethod
    def _new_final_norm(self, config: ModelConfig) -> nn.Module:
        """Make what comes after the last block."""

    def hidden(self, context_BL: Tensor) -> Tensor:
        """Return the query after each position; see `Backbone.hidden`."""
        return self._through(self.items(context_BL))

    def encode(self, context_BL: Tensor) -> Tensor:
        """Return the query after each row's last item; see `Backbone.encode`, which is the reference."""
        if self.training or torch.is_grad_enabled() or not self._compiles:
            return super().encode(context_BL)
        real_BL = context_BL > 0
        row_T, position_T = real_BL.nonzero(as_tuple=True)
        x_TD = self._placed(self.items(context_BL[row_T, position_T]), position_T)
        return self._leaving(self.final_norm(compiled_packed.ends(self._stack, x_TD, real_BL.sum(1))))

    def packed(self, contexts: PackedContexts) -> Tensor:
        """Return the query after each token; see `Backbone.packed`."""
        if not self._packs:
            return super().packed(contexts)
        return self._through_packed(self.items(contexts.item_T), contexts)

    def packed_beside(self, contexts: PackedContexts, item_N: Tensor) -> tuple[Tensor, Tensor]:
        """Return that and some items' vectors; see `Backbone.packed_beside`."""
        if not self._packs or type(self).vectors_of is not BlockEncoder.vectors_of:
            return super().packed_beside(contexts, item_N)
        sought = torch.cat([contexts.item_T, item_N])
        vectors_TD, beside_ND = torch.split(self.items(sought), [len(contexts.item_T), len(item_N)])
        return self._through_packed(vectors_TD, contexts), self._leaving(beside_ND)

    def encoder(self) -> str:
        """Name what encodes packed contexts; see `Backbone.encoder`."""
        if not self._packs:
            return super().encoder()
        return _compiled() if self._compiles else "torch"

    def encodes_in(self) -> str:
        """Name what `encode` computes in; see `Backbone.encodes_in`."""
        return _compiled() if self._compiles and type(self).encode is BlockEncoder.encode else super().encodes_in()

    def memory(self) -> Memory:
        """Return an empty memory; see `Backbone.memory`."""
        return Memory(PlainBlocks(self._stack), like_D=self.positions.weight[0])

    def advance(self, memory: Memory, item_N: Tensor, position_N: Tensor, path_NL: Tensor) -> Tensor:
        """Encode more positions; see `Backbone.advance`."""
        x_ND = self._embedded(self.items(item_N), position_N)
        return self._leaving(self.final_norm(memory.blocks.advance(x_ND, memory, position_N, path_NL)))

    def item_vectors(self) -> Tensor:
        """Return the vectors that queries meet; see `Backbone.item_vectors`."""
        return self._leaving(self._table())

    def vectors_of(self, item: Tensor) -> Tensor:
        """Return some of them; see `Backbone.vectors_of`."""
        return self._leaving(self.items(item))

    def item_embedding(self) -> nn.Embedding | None:
        """Return the embedding that queries and items share; see `Backbone.item_embedding`."""
        return self.items if isinstance(self.items, nn.Embedding) else None

    def _table(self) -> Tensor:
        """Return the vectors of all items as the blocks read them, `[V + 1, D]`."""
        return self.items.get_parameter("weight")

    def _through(self, vectors_BLD: Tensor) -> Tensor:
        """Take the vectors of whole contexts through all blocks, to queries."""
        x_BLD = self._embedded(vectors_BLD, torch.arange(vectors_BLD.shape[1], device=vectors_BLD.device))
        for block in self.blocks:
            x_BLD = block(x_BLD)
        return self._leaving(self.final_norm(x_BLD))

    def _through_packed(self, vectors_TD: Tensor, contexts: PackedContexts) -> Tensor:
        """Take the vectors of packed contexts through all blocks, to queries."""
        x_TD = self._placed(vectors_TD, contexts.position_T)
        drops = Drops(self.dropout.rate if self.training else 0.0, contexts.seed_T)
        if self._compiles:
            x_TD = compiled_packed.through_blocks(self._stack, x_TD, contexts, drops)
        else:
            x_TD = drops.at(0, x_TD)
            for number, block in enumerate(self._stack):
                x_TD = block.packed(x_TD, contexts, drops.of_block(number))
        return self._leaving(self.final_norm(x_TD))

    @property
    def _packs(self) -> bool:
        """Whether contexts may be packed: a class of the user's that has a `hidden` of its own wants to be asked it."""
        return type(self).hidden is BlockEncoder.hidden

    @property
    def _compiles(self) -> bool:
        """Whether contexts go through the compiled blocks here and now."""
        return self._packs and compiled_packed.takes(self._stack)

    @property
    def _stack(self) -> list[Block]:
        return cast(list[Block], list(self.blocks))

    def _leaving(self, vectors: Tensor) -> Tensor:
        return vectors if self._length is None else F.normalize(vectors, dim=-1) * self._length

    def _embedded(self, vectors: Tensor, position: Tensor) -> Tensor:
        embedded: Tensor = self.dropout(self._placed(vectors, position))
        return embedded

    def _placed(self, vectors: Tensor, position: Tensor) -> Tensor:
        scaled = vectors if self._scale == 1.0 else vectors * self._scale
        placed: Tensor = scaled + self.positions(position)
        return placed


def _compiled() -> str:
    return f"compiled ({compiled_packed.instructions()[0]})"


def initialise(module: nn.Module) -> None:
    """Give a layer its first weights: normal, 0 where it pads or adds."""
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=INITIAL_STD)
    if isinstance(module, nn.Embedding) and module.padding_idx is not None:
        with torch.no_grad():
            module.weight[module.padding_idx].zero_()
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)
