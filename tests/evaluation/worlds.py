"""Backbones and evaluation sets whose scores are whole numbers, and the naive ranks to compare with."""

from dataclasses import dataclass

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor

from rsir_scale.data.dataset import Sequences
from rsir_scale.data.sequences import offsets_of
from rsir_scale.evaluation.evaluate import EvaluationSet
from rsir_scale.models.base import Backbone


class LastItemBackbone(Backbone):
    """The query is a row of a second table: that of the context's last item."""

    def __init__(
        self, items_VD: Tensor, reads_VD: Tensor, *, max_length: int, dtype: torch.dtype = torch.float64
    ) -> None:
        super().__init__(item_count=len(items_VD) - 1, max_length=max_length, width=items_VD.shape[1])
        self.items_VD, self.reads_VD = items_VD.to(dtype), reads_VD.to(dtype)

    def hidden(self, context_BL: Tensor) -> Tensor:
        return self.reads_VD[context_BL]

    def item_vectors(self) -> Tensor:
        return self.items_VD


@dataclass(frozen=True)
class Case:
    """A model and the users to rank for."""

    backbone: LastItemBackbone
    users: EvaluationSet

    def naive_ranks(self, *, mask_history: bool) -> list[int]:
        """Rank each target in a plain loop over the catalogue: equal scores count against the model.

        A target that the mask hides is last of the catalogue, and beyond every cutoff where that is small.
        """
        ranks = []
        for row, target in enumerate(self.users.targets.tolist()):
            context = self.users.contexts.row(row).tolist()
            scores = (self.backbone.items_VD @ self.backbone.reads_VD[context[-1]]).tolist()
            if mask_history and target in context:
                ranks.append(max(len(scores) - 1, 21))
                continue
            if mask_history:
                scores = [float("-inf") if item in context else score for item, score in enumerate(scores)]
            rivals = set(range(1, len(scores))) - {target}
            ranks.append(1 + sum(1 for item in rivals if scores[item] >= scores[target]))
        return ranks


def sequences_of(rows: list[list[int]], ids: list[int] | None = None) -> Sequences:
    """Put rows of items together."""
    items = np.array([item for row in rows for item in row], dtype=np.int32)
    numbers = np.arange(len(rows)) if ids is None else np.array(ids, dtype=np.int64)
    return Sequences(numbers, offsets_of([len(row) for row in rows]), items)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """2..40 items, many of equal score; up to 20 users of 1..6 context items, targets anywhere, also in the context.

    In single precision the compiled search ranks, where it was built, and the plain one in double precision.
    """
    item_count = draw(st.integers(2, 40))
    numbers = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    spread = draw(st.integers(1, 9))
    items, reads = numbers.integers(-spread, spread + 1, (2, item_count + 1, 2))
    # Padding of trained models is a zero vector, which scores above every item of negative score.
    items[0] = 0
    rows = [
        numbers.integers(1, item_count + 1, numbers.integers(1, 7)).tolist() for _ in range(draw(st.integers(1, 20)))
    ]
    targets = numbers.integers(1, item_count + 1, len(rows)).astype(np.int32)
    vectors, dtype = (
        (torch.from_numpy(items), torch.from_numpy(reads)),
        draw(st.sampled_from([torch.float, torch.double])),
    )
    backbone = LastItemBackbone(*vectors, max_length=draw(st.integers(1, 8)), dtype=dtype)
    return Case(backbone, EvaluationSet(sequences_of(rows), targets))
