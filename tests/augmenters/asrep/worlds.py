"""Small worlds to extend in: items with equal vectors, short sequences that repeat items, models never trained."""

from dataclasses import dataclass

import numpy as np
import torch
from hypothesis import strategies as st

from rsir_scale.augmenters.asrep.extending import Extender
from rsir_scale.augmenters.asrep.learning import reversed_model
from rsir_scale.augmenters.asrep.options import AsrepOptions
from rsir_scale.data.sequences import Sequences, offsets_of
from rsir_scale.models.base import Backbone
from rsir_scale.models.checkpoint import build_backbone


@dataclass(frozen=True)
class World:
    """A reversed model in double precision, what it may write, and what it extends."""

    model: Backbone
    known: list[int]
    contexts: Sequences
    counts: np.ndarray

    def extender(self, *, rows: int = 3) -> Extender:
        return Extender(self.model, torch.tensor(self.known), rows=rows)


def model_of(seed: int, *, items: int, length: int) -> Backbone:
    """A model whose weights are large enough to matter, and some of whose items are alike."""
    options = AsrepOptions(width=8, heads=2, blocks=2, items=1, shorter_than=2, length=length)
    model = build_backbone(reversed_model(options, item_count=items), seed=seed).double().eval()
    draws = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn(weight.shape, generator=draws, dtype=weight.dtype) * 0.5)
            # Trained weights are kept in single precision.
            weight.copy_(weight.float())
        table = model.get_parameter("items.weight")
        table[1:] = table[1 + torch.randint(items, (items,), generator=draws)]
    return model.requires_grad_(False)


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """Any world."""
    seed, items = draw(st.integers(0, 2**20)), draw(st.integers(1, 12))
    known = sorted(draw(st.sets(st.integers(1, items), min_size=1)))
    lengths = draw(st.lists(st.integers(1, 5), max_size=5))
    numbers = np.random.default_rng(seed)
    contexts = Sequences(
        ids=np.arange(len(lengths)),
        offsets=offsets_of(lengths),
        items=numbers.integers(1, items + 1, sum(lengths)).astype(np.int32),
    )
    counts = numbers.integers(1, 7, len(lengths))
    return World(model_of(seed, items=items, length=5 + 6 - 1), known, contexts, counts)
