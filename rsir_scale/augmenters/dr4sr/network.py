"""The regenerator: an encoder that reads a sequence, K ways to remember it, and a decoder that writes from one of them.

Comes in: sequences and, while it learns, patterns. Goes out: the query after each item of a pattern, whose inner
product with an item's vector is the item's score. Which items may follow, the loss and the decoding are others' affair.

While it learns, a pattern itself says which memory it is written from: a second encoder reads it and weighs the K
memories, more sharply with every update. So each memory comes to stand for a kind of pattern, and decoding from each
gives K rows that differ. Encoder and decoder read the whole sequence; the authors mask later items in training and not
in decoding. Nothing else that reads is shared between rows, and padding never reaches a real position.

Shapes: B rows, S items of the source, T tokens of the pattern, K memories, D width, H heads, d width of a head.

Source: Yin et al., "Dataset Regeneration for Sequential Recommendation", KDD 2024, Sec. 4.2.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rsir_scale.augmenters.dr4sr.options import Dr4srOptions
from rsir_scale.models.dropout import Dropout
from rsir_scale.models.encoder import initialise

EXTRA_TOKENS = 2  # after the items: what begins a pattern, and what ends it


Kept = tuple[Tensor, Tensor]


class Attention(nn.Module):
    """Multi-head attention to what is kept (Vaswani et al., 2017), its residual and the norm after it."""

    def __init__(self, *, width: int, options: Dr4srOptions) -> None:
        super().__init__()
        self.heads = options.heads
        self.ask = nn.Linear(width, width)
        self.keep = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        self.dropout = Dropout(options.dropout)

    def kept(self, x_BSD: Tensor) -> Kept:
        """Keys and values of positions, `[B, H, S, d]` each."""
        key, value = self.keep(x_BSD).chunk(2, -1)
        return self._split(key), self._split(value)

    def forward(self, x_BTD: Tensor, kept: Kept, *, mask: Tensor | None = None, causal: bool = False) -> Tensor:
        """Mix what is kept into each position; `mask` is true where it may look, and broadcasts to `[B, H, T, S]`."""
        key, value = kept
        query = self._split(self.ask(x_BTD))
        mixed_BHTd = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=causal)
        mixed_BTD = mixed_BHTd.transpose(1, 2).reshape(x_BTD.shape)
        out_BTD: Tensor = self.norm(x_BTD + self.dropout(self.out(mixed_BTD)))
        return out_BTD

    def _split(self, x_BTD: Tensor) -> Tensor:
        rows, tokens, width = x_BTD.shape
        return x_BTD.view(rows, tokens, self.heads, width // self.heads).transpose(1, 2)


class FeedForward(nn.Module):
    """Two layers at each position, their residual and the norm after it."""

    def __init__(self, *, width: int, options: Dr4srOptions) -> None:
        super().__init__()
        self.expand = nn.Linear(width, options.feed_forward)
        self.contract = nn.Linear(options.feed_forward, width)
        self.norm = nn.LayerNorm(width)
        self.dropout = Dropout(options.dropout)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Map states to states of the same shape."""
        hidden_BTF = self.dropout(F.gelu(self.expand(x_BTD)))
        out_BTD: Tensor = self.norm(x_BTD + self.dropout(self.contract(hidden_BTF)))
        return out_BTD


class EncoderBlock(nn.Module):
    """Attention among all present positions, then feed-forward."""

    def __init__(self, *, width: int, options: Dr4srOptions) -> None:
        super().__init__()
        self.attention = Attention(width=width, options=options)
        self.feed_forward = FeedForward(width=width, options=options)

    def forward(self, x_BSD: Tensor, mask: Tensor | None) -> Tensor:
        """Map states to states of the same shape."""
        out_BSD: Tensor = self.feed_forward(self.attention(x_BSD, self.attention.kept(x_BSD), mask=mask))
        return out_BSD


class DecoderBlock(nn.Module):
    """Attention to tokens so far, attention to the memory of the source, then feed-forward."""

    def __init__(self, *, width: int, options: Dr4srOptions) -> None:
        super().__init__()
        self.own = Attention(width=width, options=options)
        self.recall = Attention(width=width, options=options)
        self.feed_forward = FeedForward(width=width, options=options)

    def forward(self, x_BTD: Tensor, memory_BSD: Tensor, mask: Tensor | None) -> Tensor:
        """Map the states of whole patterns."""
        x_BTD = self.own(x_BTD, self.own.kept(x_BTD), causal=True)
        return self._rest(x_BTD, self.recall.kept(memory_BSD), mask)

    def advance(self, x_B1D: Tensor, before: Kept, memory: Kept) -> tuple[Tensor, Kept]:
        """Map the state of one more token of each row.

        Args:
            x_B1D: states.
            before: keys and values of the tokens before, `[B, H, T, d]` each.
            memory: what `recall.kept` gave of the memories.

        Returns:
            The states, and the keys and values with those of this token.
        """
        key, value = self.own.kept(x_B1D)
        tokens = torch.cat([before[0], key], 2), torch.cat([before[1], value], 2)
        return self._rest(self.own(x_B1D, tokens), memory, None), tokens

    def _rest(self, x_BTD: Tensor, memory: Kept, mask: Tensor | None) -> Tensor:
        out_BTD: Tensor = self.feed_forward(self.recall(x_BTD, memory, mask=mask))
        return out_BTD


class Regenerator(nn.Module):
    """Sequences to patterns.

    Attributes:
        begin, end: tokens before and after a pattern; items are 1..V, and 0 is padding.
        known_V: uint8[V + 3], 1 for tokens that decoding may write: items of training sequences, and `end`.

    Args:
        item_count: V.
        width: D, that of the vectors that items start from.
        source_length: items of a source that it reads at the most.
        options: the other sizes.
    """

    known_V: Tensor

    def __init__(self, *, item_count: int, width: int, source_length: int, options: Dr4srOptions) -> None:
        super().__init__()
        self.begin, self.end = item_count + 1, item_count + EXTRA_TOKENS
        self.memories = options.memories
        tokens = self.end + 1
        self.tokens = nn.Embedding(tokens, width, padding_idx=0)
        self.positions = nn.Embedding(max(source_length, options.longest, options.span) + 1, width)
        self.encoder = _blocks(EncoderBlock, width, options)
        self.recall = nn.Sequential(
            nn.Linear(width, width * options.memories),
            nn.ReLU(),
            nn.Linear(width * options.memories, width * options.memories),
        )
        self.pattern_encoder = _blocks(EncoderBlock, width, options)
        self.weigh = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, options.memories))
        self.decoder = _blocks(DecoderBlock, width, options)
        self.dropout = Dropout(options.dropout)
        self.register_buffer("known_V", torch.zeros(tokens, dtype=torch.uint8))
        self.apply(initialise)

    @torch.no_grad()
    def start_from(self, item_vectors_VD: Tensor, items: Tensor) -> None:
        """Take the vectors of a trained recommender for a start, and remember which items occur in training.

        Args:
            item_vectors_VD: `[V + 1, D]`.
            items: int64, items of training sequences, any number of times.
        """
        self.tokens.weight[1 : self.begin] = item_vectors_VD[1:]
        self.known_V.zero_()
        self.known_V[items] = 1
        self.known_V[self.end] = 1

    def forward(self, source_BS: Tensor, pattern_BT: Tensor, noise_BK: Tensor, *, heat: float) -> tuple[Tensor, Tensor]:
        """Return the query after each token, `[B, T, D]`, and the weights of the memories, `[B, K]`.

        Args:
            source_BS: int64, right-padded with 0.
            pattern_BT: int64, `begin` and then the pattern's items, right-padded with 0.
            noise_BK: added to the logits of the memories; Gumbel noise makes it a draw of one of them.
            heat: divides the logits; towards 0 one memory has all the weight.
        """
        memory_BSKD = self.remember(source_BS)
        x_BTD = self.embedded(pattern_BT, 0)
        weight_BK = ((self._logits(x_BTD, pattern_BT) + noise_BK) / heat).softmax(-1)
        memory_BSD = torch.einsum("bskd,bk->bsd", memory_BSKD, weight_BK)
        for block in self.decoder:
            x_BTD = block(x_BTD, memory_BSD, _mask(source_BS))
        return x_BTD, weight_BK

    def remember(self, source_BS: Tensor) -> Tensor:
        """Read sources, right-padded with 0, and return their memories, `[B, S, K, D]`."""
        x_BSD = self.embedded(source_BS, 0)
        for block in self.encoder:
            x_BSD = block(x_BSD, _mask(source_BS))
        recalled: Tensor = self.recall(x_BSD)
        return recalled.view(*source_BS.shape, self.memories, -1)

    def embedded(self, token_BT: Tensor, first: int) -> Tensor:
        """Vectors of tokens at positions from `first` on, `[B, T, D]`."""
        position_T = torch.arange(first, first + token_BT.shape[1], device=token_BT.device)
        vectors_BTD: Tensor = self.dropout(self.tokens(token_BT) + self.positions(position_T))
        return vectors_BTD

    def _logits(self, x_BTD: Tensor, pattern_BT: Tensor) -> Tensor:
        for block in self.pattern_encoder:
            x_BTD = block(x_BTD, _mask(pattern_BT))
        present_BT = pattern_BT > 0
        share_BT1 = (present_BT / present_BT.sum(1, keepdim=True))[:, :, None]
        logits_BK: Tensor = self.weigh((x_BTD * share_BT1.to(x_BTD.dtype)).sum(1))
        return logits_BK


def _mask(token_BS: Tensor) -> Tensor | None:
    """Where attention may look, `[B, 1, 1, S]`; None where that is everywhere."""
    present_BS = token_BS > 0
    return None if bool(present_BS.all()) else present_BS[:, None, None]


def _blocks(of: type[EncoderBlock] | type[DecoderBlock], width: int, options: Dr4srOptions) -> nn.ModuleList:
    return nn.ModuleList(of(width=width, options=options) for _ in range(options.blocks))
