"""The exact search: every score of the catalogue, row block by row block.

Own items are read from the same block of scores as the items they are compared with, so an item never out-ranks itself
by a rounding error. This is the reference that any faster search is compared with. Memory is bounded by one block.

Shapes: B rows, R own items, L context positions, P candidates, D width, V items.
"""

import torch
from torch import Tensor

from rsir_scale.ranking.base import SearchQuery, SearchResult
from rsir_scale.ranking.count import count_true

_SCORES_PER_BLOCK = 8_000_000
_MINUS_INFINITY = float("-inf")


class ExactSearch:
    """Full scan of an item table `[V + 1, D]` whose row 0 is padding."""

    def __init__(self, items_VD: Tensor) -> None:
        self.item_count = len(items_VD) - 1
        self._table_DV = items_VD.detach().T.contiguous()
        self._rows_per_block = max(1, _SCORES_PER_BLOCK // len(items_VD))
        self._scores_BV = self._table_DV.new_empty((self._rows_per_block, len(items_VD)))

    def search(self, query: SearchQuery, *, rank_threshold: int | None, top_candidates: int) -> SearchResult:
        """Answer one step's question; see `ItemSearch`."""
        top = min(top_candidates, self.item_count)
        blocks = [
            self._search_block(
                _take(query, slice(start, start + self._rows_per_block)), rank_threshold=rank_threshold, top=top
            )
            for start in range(0, len(query.query_BD), self._rows_per_block)
        ]
        return SearchResult(
            *(torch.cat(parts) for parts in zip(*(vars(block).values() for block in blocks), strict=True))
        )

    def _search_block(self, query: SearchQuery, *, rank_threshold: int | None, top: int) -> SearchResult:
        scores_BV = torch.mm(query.query_BD, self._table_DV, out=self._scores_BV[: len(query.query_BD)])
        scores_BV[:, 0] = _MINUS_INFINITY
        own_score_BR = scores_BV.gather(1, query.own_BR)
        voucher_B, better_B = self._count_better(scores_BV, own_score_BR, query)
        passed_B = torch.ones_like(query.checked_B)
        if rank_threshold is not None:
            passed_B = ~query.checked_B | (better_B < rank_threshold)
        candidate_BP, candidate_score_BP = _candidates(scores_BV, query, passed_B & query.explore_B, top)
        return SearchResult(own_score_BR, passed_B, voucher_B, better_B, candidate_BP, candidate_score_BP)

    def _count_better(self, scores_BV: Tensor, own_score_BR: Tensor, query: SearchQuery) -> tuple[Tensor, Tensor]:
        vouching_BR = own_score_BR.masked_fill(~query.vouching_BR, _MINUS_INFINITY)
        best_B, column_B = vouching_BR.max(1)
        voucher_B = query.own_BR.gather(1, column_B[:, None])[:, 0]
        exists_B = query.vouching_BR.any(1)
        better_B = torch.where(exists_B, count_true(scores_BV > best_B[:, None]), self.item_count)
        return torch.where(exists_B, voucher_B, 0), torch.where(query.checked_B, better_B, -1)


def _candidates(scores_BV: Tensor, query: SearchQuery, wanted_B: Tensor, top: int) -> tuple[Tensor, Tensor]:
    candidate_BP = torch.zeros((len(scores_BV), top), dtype=torch.int64, device=scores_BV.device)
    score_BP = scores_BV.new_full((len(scores_BV), top), _MINUS_INFINITY)
    rows = wanted_B.nonzero()[:, 0]
    if len(rows):
        allowed_BV = scores_BV if len(rows) == len(scores_BV) else scores_BV[rows]
        allowed_BV.scatter_(1, query.banned_BL[rows], _MINUS_INFINITY)
        best, items = allowed_BV.topk(top + 1, dim=1)
        # topk keeps any of the items that tie at the cut; where some do, a stable sort keeps those of the lowest index.
        tied_B = (best[:, top - 1] == best[:, top]) & (best[:, top] > _MINUS_INFINITY)
        if tied_B.any():
            score_TV, item_TV = allowed_BV[tied_B].sort(dim=1, descending=True, stable=True)
            best[tied_B], items[tied_B] = score_TV[:, : top + 1], item_TV[:, : top + 1]
        score_BP[rows], candidate_BP[rows] = best_first(best[:, :top], items[:, :top])
    return candidate_BP.masked_fill_(score_BP == _MINUS_INFINITY, 0), score_BP


def best_first(score_BP: Tensor, item_BP: Tensor) -> tuple[Tensor, Tensor]:
    """Order candidates by falling score, equal scores by rising item index."""
    by_item = item_BP.argsort(dim=1)
    score_BP, item_BP = score_BP.gather(1, by_item), item_BP.gather(1, by_item)
    by_score = score_BP.argsort(dim=1, descending=True, stable=True)
    return score_BP.gather(1, by_score), item_BP.gather(1, by_score)


def _take(query: SearchQuery, rows: slice) -> SearchQuery:
    return SearchQuery(*(column[rows] for column in vars(query).values()))
