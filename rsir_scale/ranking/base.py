"""The one question that generation asks of the item table at each step.

For every row: does an own item still to come rank within the threshold over the whole catalogue, and, for rows that
pass and explore, which items score best? Both come from one pass over the table.

Shapes: B rows, R own items (padded with 0), L context positions, P candidates, D width, V items.
"""

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


@dataclass(frozen=True)
class SearchQuery:
    """One step's question.

    Attributes:
        query_BD: query vectors.
        own_BR: distinct items of the source sequence, 0-padded.
        vouching_BR: which own items may vouch for the row: its remaining items.
        checked_B: rows that are checked; the others pass unseen.
        explore_B: rows that need candidates from the whole catalogue, if they pass.
        banned_BL: items that may not be candidates, 0-padded (0 itself never is one).
    """

    query_BD: Tensor
    own_BR: Tensor
    vouching_BR: Tensor
    checked_B: Tensor
    explore_B: Tensor
    banned_BL: Tensor


@dataclass(frozen=True)
class SearchResult:
    """One step's answer.

    Attributes:
        own_score_BR: scores of the own items; -inf at padding.
        passed_B: whether the best vouching item ranks within the threshold.
        voucher_B: that item; 0 where no item may vouch.
        better_B: items of the catalogue that score strictly higher than it; V where no item may vouch, and -1 where
            the row was not checked.
        candidate_BP: best items for rows that pass and explore, best first, equal scores by item index; 0 elsewhere.
        candidate_score_BP: their scores; -inf where the candidate is 0.
    """

    own_score_BR: Tensor
    passed_B: Tensor
    voucher_B: Tensor
    better_B: Tensor
    candidate_BP: Tensor
    candidate_score_BP: Tensor


class ItemSearch(Protocol):
    """Answers `SearchQuery`s over one item table."""

    def search(self, query: SearchQuery, *, rank_threshold: int | None, top_candidates: int) -> SearchResult:
        """Answer one step's question; a `rank_threshold` of None lets every row pass."""
        ...
