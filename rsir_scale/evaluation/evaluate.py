"""Ranks of held-out items over the full catalogue.

The rank of a target is 1 + the number of other items that score at least as high: equal scores count against the model.
With history masking the items of the context score -inf: they cannot beat the target, and a target that is one of them
comes last, for nobody would be recommended it. Users are ranked in tiles of similar length, and items in blocks, so
memory is bounded by one tile of scores a thread.

Shapes: B rows, L positions, D width, V items.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rsir_scale.data.dataset import HeldOut, Sequences
from rsir_scale.evaluation.blocks import (
    ITEMS_PER_TILE,
    ROWS_PER_TILE,
    Rows,
    own_scores,
    require_scores,
    threads_for_tiles,
)
from rsir_scale.evaluation.metrics import beyond_cutoffs
from rsir_scale.models.base import Backbone
from rsir_scale.models.inputs import blocks_by_length, pad_latest

_TILES_PER_GROUP = 16  # tiles whose queries are held at once


@dataclass(frozen=True)
class EvaluationSet:
    """Users with a held-out item: context of row i → target i.

    Attributes:
        contexts: one sequence a user, everything that precedes the target.
        targets: item indices 1..V, one a row.
    """

    contexts: Sequences
    targets: npt.NDArray[np.int32]

    def masked(self) -> npt.NDArray[np.bool_]:
        """Whether each target is an item of its own context, and so out of reach where history is masked."""
        contexts = self.contexts
        row = np.repeat(np.arange(len(contexts)), contexts.lengths)
        return np.bincount(row[contexts.items == self.targets[row]], minlength=len(contexts)) > 0

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
def rank_targets(
    backbone: Backbone, evaluation: EvaluationSet, *, mask_history: bool, items_per_tile: int = ITEMS_PER_TILE
) -> npt.NDArray[np.int64]:
    """Rank each row's target among all items of the catalogue.

    Args:
        backbone: whose queries and items.
        evaluation: users, contexts and targets.
        mask_history: whether items of the context score -inf, the target too if it is one.
        items_per_tile: items of the catalogue that are scored at once; changes no rank.

    Returns:
        int64 ranks in 1..V, in the order of the rows; of masked targets V, or more where V is within a cutoff.

    Raises:
        DivergedError: a target's score is NaN or infinite.
    """
    was_training = backbone.training
    backbone.eval()
    ranks = np.ones(len(evaluation.targets), dtype=np.int64)
    items_VD = backbone.item_vectors().detach()
    tiles = blocks_by_length(evaluation.contexts.lengths, rows=ROWS_PER_TILE)
    ask = partial(_ask, backbone, items_VD, evaluation, mask_history)
    count = partial(Rows.reached_by, items_ND=items_VD, items_per_tile=items_per_tile)
    with threads_for_tiles() as threads:
        for start in range(0, len(tiles), _TILES_PER_GROUP):
            group = tiles[start : start + _TILES_PER_GROUP]
            for rows, count_B in zip(group, threads.map(count, [ask(rows) for rows in group]), strict=True):
                ranks[rows] += count_B
    if mask_history:
        ranks[evaluation.masked()] = beyond_cutoffs(backbone.item_count)
    backbone.train(was_training)
    return ranks


def _ask(
    backbone: Backbone,
    items_VD: Tensor,
    evaluation: EvaluationSet,
    mask_history: bool,
    rows: npt.NDArray[np.int64],
) -> Rows:
    """What rows ask of the table; padding, item 0, is excluded."""
    contexts = evaluation.contexts
    query_BD = backbone.encode(pad_latest(contexts, rows, max_length=backbone.max_length).to(items_VD.device))
    target_B1 = torch.from_numpy(evaluation.targets[rows].astype(np.int64))[:, None]
    excluded = [torch.zeros_like(target_B1), target_B1]
    if mask_history:
        excluded.append(pad_latest(contexts, rows, max_length=int(contexts.lengths.max(initial=1))))
    threshold_B1 = require_scores(own_scores(query_BD, items_VD[target_B1[:, 0].to(items_VD.device)]))
    return Rows(query_BD, threshold_B1, torch.cat(excluded, dim=1).to(items_VD.device))
