"""Small worlds to decode in: catalogues full of ties, sources that repeat items, rules of every kind."""

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import torch
from hypothesis import settings
from hypothesis import strategies as st
from torch import Tensor

from rsir_scale.augmenters.rsir.rules import Rules
from rsir_scale.config.settings import ModelConfig
from rsir_scale.data.sequences import Sequences, offsets_of
from rsir_scale.models.base import Backbone
from rsir_scale.models.checkpoint import build_backbone
from rsir_scale.runs.trained import ModelDescription
from tests.augmenters.rsir.literal import QueryOf, Vector

# Decoding a world takes a twentieth of a second: properties that the comparison with the literal reference implies, or
# nearly so, are tried on a fifth of the profile's examples.
few_examples = settings(max_examples=settings.default.max_examples // 5)

PAPER = Rules(
    check_before_choice=False,
    own_vouches_for_itself=True,
    source_items_left_out=0,
    start_at_prefix=True,
    greedy=False,
    allow_repeats=False,
    top_candidates=5,
    temperature=1.0,
    exploit_prob=0.5,
    trials_per_sequence=3,
    min_length=2,
    max_length=None,
    rank_threshold=3,
    batch_size=7,
)
RELEASED = replace(
    PAPER,
    check_before_choice=True,
    own_vouches_for_itself=False,
    source_items_left_out=1,
    start_at_prefix=False,
    greedy=True,
    min_length=3,
    max_length=8,
)


class IntegerBackbone(Backbone):
    """Queries and item vectors of small whole numbers: every score is exact, so that ties are ties on any machine.

    The query is a position-weighted sum of rows of a second table, folded into -3..3: it depends on the whole context.
    """

    def __init__(self, items_VD: Tensor, reads_VD: Tensor, *, max_length: int) -> None:
        super().__init__(item_count=len(items_VD) - 1, max_length=max_length, width=items_VD.shape[1])
        self.register_buffer("table_VD", items_VD.double())
        self.register_buffer("reads_VD", reads_VD.long())

    def hidden(self, context_BL: Tensor) -> Tensor:
        position_L1 = torch.arange(1, context_BL.shape[1] + 1)[:, None]
        return (((self.reads_VD[context_BL] * position_L1).cumsum(1) % 7) - 3).double()

    def item_vectors(self) -> Tensor:
        return self.table_VD


@dataclass(frozen=True)
class World:
    """One model, its sources and the rules of a trial."""

    backbone: Backbone
    sources: Sequences
    rules: Rules
    identity: tuple[int, int]

    @property
    def items(self) -> Vector:
        """The item table as NumPy sees it."""
        return self.backbone.item_vectors().detach().numpy()

    def query_of(self) -> QueryOf:
        """Encode one context alone, its latest items where it is longer than the model reads."""

        @cache
        def encoded(latest: tuple[int, ...]) -> Vector:
            with torch.inference_mode():
                return self.backbone.encode(torch.tensor([latest]))[0].numpy()

        return lambda context: encoded(tuple(context[-self.backbone.max_length :]))


def sequences_of(rows: list[list[int]], ids: list[int] | None = None) -> Sequences:
    """Put rows of items together; ids count from 0 where none are given."""
    return Sequences(
        ids=np.arange(len(rows), dtype=np.int64) if ids is None else np.array(ids, dtype=np.int64),
        offsets=offsets_of([len(row) for row in rows]),
        items=np.array([item for row in rows for item in row], dtype=np.int32),
    )


def sasrec(item_count: int, *, seed: int, max_length: int = 12) -> Backbone:
    """An untrained SASRec in float64 whose scores are spread out, so that the softmax matters."""
    model = ModelConfig(width=8, blocks=1, heads=2, feed_forward=8, dropout=0.0)
    description = ModelDescription(model=model, item_count=item_count, max_length=max_length)
    backbone = build_backbone(description, seed=seed).double().eval()
    with torch.no_grad():
        backbone.item_vectors().mul_(30.0)
    return backbone


@st.composite
def rules(draw: st.DrawFn, item_count: int) -> Rules:
    """Rules of either reading, at the edges and between them."""
    base = draw(st.sampled_from([PAPER, RELEASED]))
    threshold = draw(st.none() | st.integers(1, min(item_count - 1, 8)) | st.just(item_count - 1))
    return replace(
        base,
        start_vouches=base is PAPER and draw(st.booleans()),
        acceptance=draw(st.sampled_from([None, 0.0, 0.4, 1.0])) if threshold is None else None,
        own_vouches_for_itself=draw(st.booleans()),
        start_at_prefix=draw(st.booleans()),
        greedy=draw(st.booleans()),
        allow_repeats=draw(st.booleans()),
        top_candidates=draw(st.integers(1, item_count + 2)),
        temperature=draw(st.sampled_from([0.3, 1.0, 5.0])),
        exploit_prob=draw(st.sampled_from([0.0, 0.3, 0.5, 1.0])),
        trials_per_sequence=draw(st.integers(1, 4)),
        min_length=draw(st.integers(2, 4)),
        max_length=draw(st.none() | st.integers(1, 12)),
        rank_threshold=threshold,
        batch_size=draw(st.integers(2, 7)),
    )


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """A catalogue of 5..40 items, 1..8 sources of 2..9 items, any rules; half of them full of ties."""
    item_count = draw(st.integers(5, 40))
    # Whole numbers come from one seed: hypothesis shrinks the sizes, and drawing tables number by number is slow.
    seed = draw(st.integers(0, 2**32 - 1))
    numbers = np.random.default_rng(seed)
    ties = draw(st.booleans())
    if not ties:
        backbone = sasrec(item_count, seed=seed, max_length=draw(st.sampled_from([3, 12])))
    else:
        spread = draw(st.integers(1, 3))
        items = numbers.integers(-spread, spread + 1, (item_count + 1, 3))
        items[1 + numbers.integers(0, item_count, item_count // 2)] = items[1]
        reads = numbers.integers(0, 7, (item_count + 1, 3))
        reads[0] = 0
        backbone = IntegerBackbone(
            torch.from_numpy(items), torch.from_numpy(reads), max_length=draw(st.sampled_from([3, 12]))
        ).eval()
    item = st.integers(1, item_count)
    rows = draw(st.lists(st.lists(item, min_size=2, max_size=9), min_size=1, max_size=8))
    ids = draw(st.lists(st.integers(0, 2**40), min_size=len(rows), max_size=len(rows), unique=True))
    identity = (draw(st.integers(0, 2**40)), draw(st.integers(0, 3)))
    chosen = rules(item_count)
    return World(backbone, sequences_of(rows, ids), draw(chosen), identity)
