"""How many users have their target within a cutoff, without scoring the whole catalogue for everyone.

Early stopping needs NDCG@n alone, so a rank beyond n need not be known. The items that occur most are scored first;
whoever has n better ones is out, and only the others meet the rest of the catalogue, block by block. Ranks up to n are
those of `evaluate.rank_targets`, but for items whose scores tie with the target's to the last bit.

Shapes: B rows, L positions, D width, V items.
"""

from concurrent.futures import Executor
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rsir_scale.evaluation.blocks import ROWS_PER_TILE, Rows, item_blocks, require_scores, split, threads_for_tiles
from rsir_scale.evaluation.evaluate import EvaluationSet
from rsir_scale.evaluation.metrics import beyond_cutoffs
from rsir_scale.models.base import Backbone
from rsir_scale.models.inputs import blocks_by_length, pad_latest

_FIRST_SHARE = 8
_ITEMS_PER_BLOCK = 1 << 16  # after so many items, rows that are out leave
_ROWS_PER_GROUP = 1 << 13
_ROWS_WORTH_A_THREAD = 64


class EarlyRanks:
    """Ranks of one evaluation set, again and again while a model trains.

    Args:
        evaluation: users, contexts and targets.
        item_count: V.
        mask_history: whether items of the context score -inf, the target too if it is one.
        items_per_block: items in memory beside the table; changes no rank.
    """

    def __init__(
        self, evaluation: EvaluationSet, *, item_count: int, mask_history: bool, items_per_block: int = _ITEMS_PER_BLOCK
    ) -> None:
        self._evaluation = evaluation
        self._mask_history = mask_history
        self._masked = evaluation.masked() & mask_history
        counts = np.bincount(evaluation.contexts.items, minlength=item_count + 1)
        counts[0] = -1
        self._item_V: Tensor = torch.from_numpy(np.argsort(-counts, kind="stable")[:item_count])
        # Padding stands nowhere.
        self._place_V = torch.full((item_count + 1,), -1, dtype=torch.int64)
        self._place_V[self._item_V] = torch.arange(item_count)
        first = max(1, item_count // _FIRST_SHARE)
        self._blocks = [
            *item_blocks(0, first, items=items_per_block),
            *item_blocks(first, item_count, items=items_per_block),
        ]

    @torch.no_grad()  # not inference mode: what a class of the user's keeps from here, training may read
    def within(self, backbone: Backbone, cutoff: int) -> npt.NDArray[np.int64]:
        """Return each target's rank where it is at most `cutoff`, and some larger number elsewhere.

        Raises:
            DivergedError: a target's score is no number.
        """
        was_training = backbone.training
        backbone.eval()
        items_VD = backbone.item_vectors().detach()
        ranks = np.ones(len(self._evaluation.targets), dtype=np.int64)
        with threads_for_tiles() as threads:
            for rows in blocks_by_length(self._evaluation.contexts.lengths, rows=_ROWS_PER_GROUP):
                ranks[rows] = self._group_ranks(backbone, items_VD, rows, cutoff, threads)
        ranks[self._masked] = beyond_cutoffs(backbone.item_count)
        backbone.train(was_training)
        return ranks

    def _group_ranks(
        self, backbone: Backbone, items_VD: Tensor, rows: npt.NDArray[np.int64], cutoff: int, threads: Executor
    ) -> npt.NDArray[np.int64]:
        device, contexts = items_VD.device, self._evaluation.contexts
        pieces = split(rows, ROWS_PER_TILE)
        context = [pad_latest(contexts, piece, max_length=backbone.max_length).to(device) for piece in pieces]
        query_BD = torch.cat([backbone.encode(context_BL) for context_BL in context])
        target_B = torch.from_numpy(self._evaluation.targets[rows].astype(np.int64))
        threshold_B1 = require_scores((query_BD * items_VD[target_B.to(device)]).sum(1, keepdim=True))
        excluded_BL = self._place_V[target_B][:, None]
        if self._mask_history:
            history_BL = pad_latest(contexts, rows, max_length=int(contexts.lengths.max(initial=1)))
            excluded_BL = torch.cat([self._place_V[history_BL], excluded_BL], dim=1)
        asked = Rows(query_BD, threshold_B1, excluded_BL.to(device))
        ranks = np.ones(len(rows), dtype=np.int64)
        for first, stop in self._blocks:
            alive = np.flatnonzero(ranks <= cutoff)
            if not len(alive):
                break
            count = partial(Rows.reached_by, items_ND=items_VD[self._item_V[first:stop].to(device)], first=first)
            parts = list(split(alive, _rows_per_piece(len(alive))))
            for piece, count_B in zip(parts, threads.map(count, map(asked.part, parts)), strict=True):
                ranks[piece] += count_B
        return ranks


def _rows_per_piece(rows: int) -> int:
    """So many that each thread has some, and none is called for a handful."""
    return min(ROWS_PER_TILE, max(_ROWS_WORTH_A_THREAD, -(-rows // torch.get_num_threads())))
