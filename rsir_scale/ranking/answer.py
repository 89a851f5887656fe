"""From scores to a step's answer: the rules that every search in torch decides by.

Comes in: a question, and what a search counted and found. Goes out: who vouches, whether the row passes, and the
candidates in order. Which items are looked at, and how, is the search's own affair. `kernel/search.cpp` has the same
rules in C++.

Shapes: B rows, R own items (padded with 0), L banned items, P candidates, V items.
"""

import torch
from torch import Tensor

from rsir_scale.ranking.base import SearchQuery, SearchResult
from rsir_scale.ranking.score import exact_own_scores

_MINUS_INFINITY = float("-inf")


def best_vouchers(query: SearchQuery, items_VD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the own items' scores, each row's best vouching item's score, and that item, 0 where none may vouch."""
    own_score_BR = exact_own_scores(query.query_BD, items_VD, query.own_BR)
    target_B, column_B = own_score_BR.masked_fill(~query.vouching_BR, _MINUS_INFINITY).max(1)
    voucher_B = torch.where(query.vouching_BR.any(1), query.own_BR.gather(1, column_B[:, None])[:, 0], 0)
    return own_score_BR, target_B, voucher_B


def judge(
    query: SearchQuery, voucher_B: Tensor, better_B: Tensor, *, rank_threshold: int, item_count: int
) -> tuple[Tensor, Tensor]:
    """Return `passed_B` and `better_B` of the answer, from the better items that were counted."""
    exists_B = voucher_B > 0
    passed_B = ~query.checked_B | (exists_B & (better_B < rank_threshold))
    better_B = torch.where(exists_B, better_B.clamp(max=rank_threshold), item_count)
    return passed_B, torch.where(query.checked_B, better_B, -1)


def answer(
    query: SearchQuery,
    own_score_BR: Tensor,
    voucher_B: Tensor,
    judged: tuple[Tensor, Tensor],
    found: tuple[Tensor, Tensor],
    *,
    item_count: int,
) -> SearchResult:
    """Put an answer together; `found` are the explored candidates `[B, P]` and their scores."""
    passed_B, better_B = judged
    candidate_BP, score_BP = found
    idle_B1 = ~(passed_B & query.explore_B)[:, None]
    candidate_BP, score_BP = candidate_BP.masked_fill(idle_B1, 0), score_BP.masked_fill(idle_B1, _MINUS_INFINITY)
    seen_B = torch.full_like(voucher_B, item_count)
    return SearchResult(own_score_BR, passed_B, voucher_B, better_B, candidate_BP, score_BP, seen_B)


def best_first(score_BP: Tensor, item_BP: Tensor) -> tuple[Tensor, Tensor]:
    """Order candidates by falling score, equal scores by rising item index."""
    by_item = item_BP.argsort(dim=1)
    score_BP, item_BP = score_BP.gather(1, by_item), item_BP.gather(1, by_item)
    by_score = score_BP.argsort(dim=1, descending=True, stable=True)
    return score_BP.gather(1, by_score), item_BP.gather(1, by_score)


def without(banned_BL: Tensor, score_BP: Tensor, item_BP: Tensor, top: int) -> tuple[Tensor, Tensor]:
    """Leave banned items out of ordered candidates, and keep the first `top`; -inf where there are fewer."""
    banned_BP = (item_BP[:, :, None] == banned_BL[:, None, :]).any(2)
    score_BP = score_BP.masked_fill(banned_BP, _MINUS_INFINITY)
    order_BP = banned_BP.to(torch.int8).argsort(dim=1, stable=True)[:, :top]
    return score_BP.gather(1, order_BP), item_BP.gather(1, order_BP)
