"""Ranks of held-out items over the full catalogue.

The rank of a target is 1 + the number of other items that score at least as high: equal scores count against the model.
With history masking the items of the context cannot beat the target, as if their scores were -inf. Users are ranked in
blocks of similar length, so memory is bounded by one block of scores.

Shapes: B rows, L positions, D width, V items.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rsir_scale.data.dataset import HeldOut, Sequences
from rsir_scale.models.base import Backbone
from rsir_scale.models.inputs import blocks_by_length, pad_latest
from rsir_scale.ranking.count import count_true

_SCORES_PER_BLOCK = 8_000_000


@dataclass(frozen=True)
class EvaluationSet:
    """Users with a held-out item: context of row i → target i.

    Attributes:
        contexts: one sequence a user, everything that precedes the target.
        targets: item indices 1..V, one a row.
    """

    contexts: Sequences
    targets: npt.NDArray[np.int32]

    def part(self, *, rank: int, of: int) -> "EvaluationSet":
        """Return every `of`-th row, starting at `rank`: one worker's share."""
        rows = np.arange(rank, len(self.targets), of)
        return EvaluationSet(self.contexts.select(rows), self.targets[rows])


def validation_set(training: Sequences, held_out: HeldOut) -> EvaluationSet:
    """Users with a validation item; the context is the training sequence.

    Args:
        training: real training sequences, ordered by id.
        held_out: their held-out items, in the same order; 0 is none.
    """
    rows = np.flatnonzero((held_out.validation > 0) & (training.lengths > 0))
    return EvaluationSet(training.select(rows), held_out.validation[rows])


def test_set(training: Sequences, held_out: HeldOut) -> EvaluationSet:
    """Users with a test item; the context is the training sequence and the validation item after it."""
    rows = np.flatnonzero((held_out.test > 0) & (held_out.validation > 0))
    chosen = training.select(rows)
    items = np.insert(chosen.items, chosen.offsets[1:], held_out.validation[rows])
    offsets = chosen.offsets + np.arange(len(chosen.offsets))
    return EvaluationSet(Sequences(ids=chosen.ids, offsets=offsets, items=items), held_out.test[rows])


@torch.inference_mode()
def rank_targets(backbone: Backbone, evaluation: EvaluationSet, *, mask_history: bool) -> npt.NDArray[np.int64]:
    """Rank each row's target among all items of the catalogue.

    Returns:
        int64 ranks in 1..V, in the order of the rows.
    """
    was_training = backbone.training
    backbone.eval()
    ranks = np.zeros(len(evaluation.targets), dtype=np.int64)
    items_VD = backbone.item_vectors().detach()
    rows_per_block = max(1, _SCORES_PER_BLOCK // len(items_VD))
    table_DV = items_VD.T.contiguous()
    scores_BV = items_VD.new_empty((min(rows_per_block, len(ranks)), len(items_VD)))
    for rows in blocks_by_length(evaluation.contexts.lengths, rows=rows_per_block):
        context_BL = pad_latest(evaluation.contexts, rows, max_length=backbone.max_length).to(items_VD.device)
        history_BL = pad_latest(evaluation.contexts, rows, max_length=_longest(evaluation.contexts)).to(items_VD.device)
        target_B = torch.from_numpy(evaluation.targets[rows].astype(np.int64)).to(items_VD.device)
        block_BV = torch.mm(backbone.encode(context_BL), table_DV, out=scores_BV[: len(rows)])
        ranks[rows] = _ranks(block_BV, target_B, history_BL if mask_history else None).cpu().numpy()
    backbone.train(was_training)
    return ranks


def _longest(sequences: Sequences) -> int:
    return int(sequences.lengths.max(initial=1))


def _ranks(scores_BV: Tensor, target_B: Tensor, history_BL: Tensor | None) -> Tensor:
    """Rank targets in a block of scores that may be overwritten; column 0 is padding."""
    target_score_B1 = scores_BV.gather(1, target_B[:, None])
    minus_infinity = float("-inf")
    scores_BV[:, 0] = minus_infinity
    if history_BL is not None:
        scores_BV.scatter_(1, history_BL, minus_infinity)
    scores_BV.scatter_(1, target_B[:, None], minus_infinity)
    return 1 + count_true(scores_BV >= target_score_B1)
