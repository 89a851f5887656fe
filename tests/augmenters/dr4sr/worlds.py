"""Small worlds to regenerate in: sequences that repeat items and share patterns, regenerators full of ties."""

from dataclasses import dataclass

import numpy as np
import torch
from hypothesis import strategies as st

from rsir_scale.augmenters.dr4sr.network import Regenerator
from rsir_scale.augmenters.dr4sr.options import Dr4srOptions
from rsir_scale.data.sequences import Sequences
from tests.augmenters.rsir.worlds import sequences_of

SOURCE_LENGTH = 9


@dataclass(frozen=True)
class World:
    """Sequences by id, a regenerator that was never fitted, and how to use it."""

    rows: dict[int, list[int]]
    network: Regenerator
    options: Dr4srOptions
    identity: tuple[int, int]

    @property
    def sources(self) -> Sequences:
        return sequences_of(list(self.rows.values()), list(self.rows))


def regenerator(*, items: int, known: list[int], options: Dr4srOptions, seed: int, width: int = 8) -> Regenerator:
    """One whose scores are spread out; half of the items share their vector with another one."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Regenerator(item_count=items, width=width, source_length=SOURCE_LENGTH, options=options)
    numbers = np.random.default_rng(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.dim() > 1:
                parameter.mul_(20.0)
        vectors_VD = network.tokens.weight[: items + 1].clone()
        vectors_VD[1 + numbers.integers(0, items, items // 2)] = vectors_VD[1].clone()
        network.start_from(vectors_VD, torch.tensor(known))
    return network.eval()


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """A catalogue of 3..20 items, 1..7 sequences of 0..9 items, any options of decoding and mining."""
    items = draw(st.integers(3, 20))
    row = st.lists(st.integers(1, min(items, draw(st.integers(2, 20)))), max_size=SOURCE_LENGTH)
    rows = draw(st.lists(row, min_size=1, max_size=7).filter(any))
    ids = draw(st.lists(st.integers(0, 2**40), min_size=len(rows), max_size=len(rows), unique=True))
    options = Dr4srOptions(
        span=draw(st.integers(2, 6)),
        support=draw(st.integers(1, 3)),
        patterns=draw(st.integers(1, 4)),
        memories=draw(st.integers(1, 3)),
        blocks=draw(st.integers(1, 2)),
        feed_forward=8,
        own_items=draw(st.integers(0, 4)),
        longest=draw(st.integers(2, 6)),
    )
    network = regenerator(
        items=items,
        known=sorted({item for row in rows for item in row}),
        options=options,
        seed=draw(st.integers(0, 2**32 - 1)),
    )
    return World(dict(zip(ids, rows, strict=True)), network, options, (draw(st.integers(0, 2**40)), 1))
