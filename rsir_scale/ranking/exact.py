"""The exact search in plain torch, on any device: the catalogue streamed in blocks, rows that have failed dropped.

Scores of a block are estimated in the table's own precision. An estimate and the exact score (`ranking.score`) differ
by at most a row's band, so most comparisons are certain; the few in doubt are made again exactly. Items come by falling
norm, which finds better items early: a row leaves as soon as its check has failed, or once no item to come is long
enough to matter (Cauchy-Schwarz). Memory is bounded by one block.

Shapes: B rows, R own items, L context positions, K best items kept, N pairs of a row and an item, D width, V items.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from rsir_scale.ranking.answer import answer, best_first, best_vouchers, judge, without
from rsir_scale.ranking.base import (
    RankQuery,
    SearchQuery,
    SearchResult,
    require_finite_items,
    require_finite_queries,
)
from rsir_scale.ranking.count import count_true
from rsir_scale.ranking.score import exact_own_scores, exact_scores, rounding_band

_SCORES_PER_BLOCK = 2_000_000  # what a processor's caches hold; a larger block takes up to twice as long
_SPARE = 8  # best items kept beyond those wanted: scores that close decide the order at the cut
_MINUS_INFINITY = float("-inf")
_ITEMS_PER_NORM = 1 << 16


@dataclass
class _Progress:
    """What the scan knows of each row; `best` columns fall, 0 and -inf where nothing was found yet."""

    target_B: Tensor
    band_B: Tensor
    better_B: Tensor
    best_score_BK: Tensor
    best_item_BK: Tensor


class ExactSearch:
    """Scan of an item table `[V + 1, D]` whose row 0 is padding; see `ExactItemSearch`."""

    name = "exact/torch"

    def __init__(self, items_VD: Tensor) -> None:
        """Sort the table by norm. Raises IntegrityError: a vector is not finite."""
        items_VD = items_VD.detach()
        require_finite_items(items_VD)
        self.item_count = len(items_VD) - 1
        self._items_VD = items_VD
        # In double precision, where the norm of a tiny vector is not 0.
        blocks = torch.split(items_VD[1:], _ITEMS_PER_NORM)
        norm_V = torch.cat([block.double().norm(dim=1) for block in blocks])
        self._order_V = 1 + norm_V.argsort(descending=True, stable=True)
        self._norm_V = norm_V[self._order_V - 1]
        self._table_DV = items_VD[self._order_V].T.contiguous()

    def search(self, query: SearchQuery, *, rank_threshold: int, top_candidates: int) -> SearchResult:
        """Answer one step's question; see `ItemSearch`."""
        require_finite_queries(query.query_BD)
        own_score_BR, target_B, voucher_B = best_vouchers(query, self._items_VD)
        top = min(top_candidates, self.item_count)
        kept = min(top + int((query.banned_BL > 0).sum(1).max()) + _SPARE, self.item_count)
        progress = self._begin(query, target_B, kept)
        self._scan(query, progress, checked_B=query.checked_B & (voucher_B > 0), rank_threshold=rank_threshold)
        judged = judge(query, voucher_B, progress.better_B, rank_threshold=rank_threshold, item_count=self.item_count)
        explored_B = judged[0] & query.explore_B
        found = self._candidates(query, progress, explored_B, top)
        return answer(query, own_score_BR, voucher_B, judged, found, item_count=self.item_count)

    def ranks(self, query: RankQuery, *, cap: int) -> Tensor:
        """Rank one item a row; see `ExactItemSearch`."""
        require_finite_queries(query.query_BD)
        asked = query.as_search()
        target_B = exact_own_scores(query.query_BD, self._items_VD, asked.own_BR)[:, 0]
        # Equal scores count, so what is counted scores higher than the next number below.
        progress = self._begin(asked, _next(target_B, upwards=False), kept=1)
        left_out_BR = _distinct(torch.cat([query.target_B[:, None], query.excluded_BL], dim=1))
        left_out_score_BR = exact_own_scores(query.query_BD, self._items_VD, left_out_BR)
        progress.better_B -= (left_out_score_BR >= target_B[:, None]).sum(1)
        self._scan(asked, progress, checked_B=asked.checked_B, rank_threshold=cap)
        return 1 + progress.better_B.clamp(max=cap)

    def _begin(self, query: SearchQuery, target_B: Tensor, kept: int) -> _Progress:
        band_B = rounding_band(query.query_BD, float(self._norm_V[0]))
        rows = len(band_B)
        return _Progress(
            target_B=target_B,
            band_B=band_B,
            better_B=torch.zeros_like(query.checked_B, dtype=torch.int64),
            best_score_BK=query.query_BD.new_full((rows, kept), _MINUS_INFINITY),
            best_item_BK=query.own_BR.new_zeros((rows, kept)),
        )

    def _scan(self, query: SearchQuery, progress: _Progress, *, checked_B: Tensor, rank_threshold: int) -> None:
        """Stream the catalogue past the rows that it can still concern, and fill `progress`."""
        failed_B = query.checked_B & ~checked_B
        norm_B = query.query_BD.double().norm(dim=1)
        begin = 0
        while begin < self.item_count:
            failed_B = failed_B | (checked_B & (progress.better_B >= rank_threshold))
            within_B = norm_B * self._norm_V[begin] + progress.band_B
            checking_B = checked_B & ~failed_B & (within_B > progress.target_B - progress.band_B)
            exploring_B = query.explore_B & ~failed_B & (within_B >= progress.best_score_BK[:, -1] - progress.band_B)
            row_B = (checking_B | exploring_B).nonzero()[:, 0]
            if not len(row_B):
                return
            end = min(self.item_count, begin + max(progress.best_item_BK.shape[1], _SCORES_PER_BLOCK // len(row_B)))
            scores_BV = query.query_BD[row_B] @ self._table_DV[:, begin:end]
            self._count(query, progress, row_B, checking_B[row_B], scores_BV, begin)
            self._keep_best(progress, row_B, exploring_B[row_B], scores_BV, begin)
            begin = end

    def _count(
        self, query: SearchQuery, progress: _Progress, row_B: Tensor, checking_B: Tensor, scores_BV: Tensor, begin: int
    ) -> None:
        """Add the block's better items; those within the band of the target are scored exactly."""
        if not checking_B.any():
            return
        target_B, band_B = progress.target_B[row_B], progress.band_B[row_B]
        # Compared in the scores' own precision: a float64 threshold would have every score copied first.
        sure_BV = scores_BV > _at_least(target_B + band_B, scores_BV, counted_B=checking_B)
        possible_BV = scores_BV > _at_most(target_B - band_B, scores_BV, counted_B=checking_B)
        sure_B, possible_B = count_true(sure_BV), count_true(possible_BV)
        doubtful_B = (sure_B < possible_B).nonzero()[:, 0]
        if len(doubtful_B):
            pair_N, column_N = (possible_BV[doubtful_B] & ~sure_BV[doubtful_B]).nonzero(as_tuple=True)
            row_N = row_B[doubtful_B[pair_N]]
            score_N = exact_scores(query.query_BD[row_N], self._items_VD[self._order_V[begin + column_N]])
            better_N = (score_N > progress.target_B[row_N]).long()
            progress.better_B.index_add_(0, row_N, better_N)
        progress.better_B.index_add_(0, row_B, sure_B)

    def _keep_best(
        self, progress: _Progress, row_B: Tensor, exploring_B: Tensor, scores_BV: Tensor, begin: int
    ) -> None:
        """Merge the block's best items into those kept."""
        if not exploring_B.any():
            return
        if not exploring_B.all():
            row_B, scores_BV = row_B[exploring_B], scores_BV[exploring_B]
        kept = progress.best_item_BK.shape[1]
        score_BK, column_BK = scores_BV.topk(min(kept, scores_BV.shape[1]), dim=1)
        score_BK = torch.cat([progress.best_score_BK[row_B], score_BK], 1)
        item_BK = torch.cat([progress.best_item_BK[row_B], self._order_V[begin + column_BK]], 1)
        progress.best_score_BK[row_B], best_BK = score_BK.topk(kept, dim=1)
        progress.best_item_BK[row_B] = item_BK.gather(1, best_BK)

    def _candidates(self, query: SearchQuery, progress: _Progress, wanted_B: Tensor, top: int) -> tuple[Tensor, Tensor]:
        """Score the best items exactly, leave the banned out, and order the rest."""
        candidate_BP = query.own_BR.new_zeros((len(wanted_B), top))
        score_BP = torch.full((len(wanted_B), top), _MINUS_INFINITY, dtype=torch.float64, device=wanted_B.device)
        row_B = wanted_B.nonzero()[:, 0]
        if len(row_B):
            item_BK = progress.best_item_BK[row_B]
            score_BK = exact_own_scores(query.query_BD[row_B], self._items_VD, item_BK)
            score_BK, item_BK = without(query.banned_BL[row_B], *best_first(score_BK, item_BK), top)
            score_BP[row_B], candidate_BP[row_B] = score_BK, item_BK
            # An item left out may come within a band of the last one kept: then every item decides.
            last_B = progress.best_score_BK[row_B, -1] + 2 * progress.band_B[row_B]
            cut_B = (last_B >= score_BK[:, -1]) & (progress.best_item_BK.shape[1] < self.item_count)
            for row in row_B[cut_B].tolist():
                score_BP[row], candidate_BP[row] = self._full_sort(query, row, top)
        return candidate_BP.masked_fill_(score_BP == _MINUS_INFINITY, 0), score_BP

    def _full_sort(self, query: SearchQuery, row: int, top: int) -> tuple[Tensor, Tensor]:
        item_1V = torch.arange(1, self.item_count + 1, device=query.own_BR.device)[None]
        score_1V = exact_scores(query.query_BD[row].expand(self.item_count, -1), self._items_VD[1:])[None]
        score_1P, item_1P = without(query.banned_BL[row, None], *best_first(score_1V, item_1V), top)
        return score_1P[0], item_1P[0]


def _distinct(item_BR: Tensor) -> Tensor:
    """Each row's items once, 0 in place of repeats."""
    sorted_BR = item_BR.sort(1).values
    repeats_BR = torch.zeros_like(sorted_BR, dtype=torch.bool)
    repeats_BR[:, 1:] = sorted_BR[:, 1:] == sorted_BR[:, :-1]
    return sorted_BR.masked_fill(repeats_BR, 0)


def _at_least(threshold_B: Tensor, scores_BV: Tensor, *, counted_B: Tensor) -> Tensor:
    """Thresholds rounded up to the scores' precision, `[B, 1]`; infinite for rows that are not counted."""
    rounded_B = threshold_B.to(scores_BV.dtype)
    rounded_B = torch.where(rounded_B < threshold_B, _next(rounded_B, upwards=True), rounded_B)
    return rounded_B.masked_fill(~counted_B, float("inf"))[:, None]


def _at_most(threshold_B: Tensor, scores_BV: Tensor, *, counted_B: Tensor) -> Tensor:
    """Thresholds rounded down to the scores' precision, `[B, 1]`; infinite for rows that are not counted."""
    rounded_B = threshold_B.to(scores_BV.dtype)
    rounded_B = torch.where(rounded_B > threshold_B, _next(rounded_B, upwards=False), rounded_B)
    return rounded_B.masked_fill(~counted_B, float("inf"))[:, None]


def _next(value_B: Tensor, *, upwards: bool) -> Tensor:
    return torch.nextafter(value_B, torch.full_like(value_B, float("inf") if upwards else _MINUS_INFINITY))
