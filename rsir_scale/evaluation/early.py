"""How many users have their target within a cutoff, without scoring the whole catalogue for everyone.

Early stopping needs NDCG@n alone, so a rank beyond n need not be known. The items that occur most are scored first;
whoever has n better ones among them is out, and only the others meet the rest of the catalogue. Ranks up to n are those
of `evaluate.rank_targets`, but for items whose scores tie with the target's to the last bit.

Shapes: B rows, L positions, D width, V items.
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rsir_scale.evaluation.evaluate import EvaluationSet
from rsir_scale.models.base import Backbone
from rsir_scale.models.inputs import blocks_by_length, pad_latest
from rsir_scale.ranking.count import count_true

_FIRST_SHARE = 8
_ROWS_PER_BLOCK = 512
_MINUS_INFINITY = float("-inf")


class EarlyRanks:
    """Ranks of one evaluation set, again and again while a model trains.

    Args:
        evaluation: users, contexts and targets.
        item_count: V.
        mask_history: whether items of the context can beat the target.
    """

    def __init__(self, evaluation: EvaluationSet, *, item_count: int, mask_history: bool) -> None:
        self._evaluation = evaluation
        self._mask_history = mask_history
        counts = np.bincount(evaluation.contexts.items, minlength=item_count + 1)
        counts[0] = -1
        by_count = np.argsort(-counts, kind="stable")[:item_count]
        first = max(1, item_count // _FIRST_SHARE)
        self._groups = [_Group(items, item_count) for items in (by_count[:first], by_count[first:]) if len(items)]

    @torch.inference_mode()
    def within(self, backbone: Backbone, cutoff: int) -> npt.NDArray[np.int64]:
        """Return each target's rank where it is at most `cutoff`, and some larger number elsewhere."""
        was_training = backbone.training
        backbone.eval()
        contexts, targets = self._evaluation.contexts, self._evaluation.targets
        items_VD = backbone.item_vectors().detach()
        tables = [items_VD[group.item_V.to(items_VD.device)].T.contiguous() for group in self._groups]
        ranks = np.ones(len(targets), dtype=np.int64)
        for rows in blocks_by_length(contexts.lengths, rows=_ROWS_PER_BLOCK):
            query_BD = backbone.encode(pad_latest(contexts, rows, max_length=backbone.max_length).to(items_VD.device))
            target_B = torch.from_numpy(targets[rows].astype(np.int64))
            target_score_B1 = (query_BD * items_VD[target_B.to(items_VD.device)]).sum(1, keepdim=True)
            excluded_BL = target_B[:, None]
            if self._mask_history:
                history_BL = pad_latest(contexts, rows, max_length=int(contexts.lengths.max(initial=1)))
                excluded_BL = torch.cat([history_BL, excluded_BL], dim=1)
            alive = np.arange(len(rows))
            for group, table_DV in zip(self._groups, tables, strict=True):
                live = torch.from_numpy(alive).to(items_VD.device)
                scores_BV = query_BD[live] @ table_DV
                column_BL = group.column_V[excluded_BL[torch.from_numpy(alive)]].to(items_VD.device)
                scores_BV.scatter_(1, column_BL, _MINUS_INFINITY)
                scores_BV[:, 0] = _MINUS_INFINITY
                ranks[rows[alive]] += count_true(scores_BV >= target_score_B1[live]).cpu().numpy()
                alive = alive[ranks[rows[alive]] <= cutoff]
        backbone.train(was_training)
        return ranks


class _Group:
    """Some items of the catalogue as columns of a table; column 0 is padding, which nothing is compared with."""

    def __init__(self, items: npt.NDArray[np.int64], item_count: int) -> None:
        self.item_V: Tensor = torch.from_numpy(np.concatenate([[0], items]))
        self.column_V = torch.zeros(item_count + 1, dtype=torch.int64)
        self.column_V[self.item_V] = torch.arange(len(self.item_V))
