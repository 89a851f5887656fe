"""What is asked of the item table: by generation at each step, and by evaluation.

Generation asks for every row: does an own item still to come rank within the threshold over the whole catalogue, and,
for rows that pass and explore (paper Sec. 3.2.1), which items of the catalogue score best? Both come from one pass over
the table. The own items' scores come with the answer, for rows that exploit. Evaluation asks where one item ranks among
the others. Scores are those of `ranking.score`.

Shapes: B rows, R own items (padded with 0), L context positions, P candidates, D width, V items.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from rsir_scale.errors import IntegrityError


@dataclass(frozen=True)
class SearchQuery:
    """One step's question.

    Attributes:
        query_BD: query vectors.
        own_BR: distinct items of the source sequence, 0-padded.
        vouching_BR: which own items may vouch for the row: its remaining items.
        checked_B: rows that are checked; the others pass unseen.
        explore_B: rows that need the best items of the catalogue, if they pass.
        banned_BL: items that may not be candidates, 0-padded (0 itself never is one).
    """

    query_BD: Tensor
    own_BR: Tensor
    vouching_BR: Tensor
    checked_B: Tensor
    explore_B: Tensor
    banned_BL: Tensor

    @classmethod
    def for_best(cls, query_BD: Tensor, banned_BL: Tensor) -> "SearchQuery":
        """Ask for the best items of the catalogue, and check nothing."""
        on_B = torch.ones(len(query_BD), dtype=torch.bool, device=query_BD.device)
        none_B1 = torch.zeros((len(query_BD), 1), dtype=torch.int64, device=query_BD.device)
        return cls(query_BD, none_B1, none_B1.bool(), checked_B=~on_B, explore_B=on_B, banned_BL=banned_BL)


@dataclass(frozen=True)
class SearchResult:
    """One step's answer.

    Attributes:
        own_score_BR: float64 scores of the own items; -inf at padding.
        passed_B: whether the best vouching item ranks within the threshold.
        voucher_B: that item; 0 where no item may vouch.
        better_B: items of the catalogue that score strictly higher than it, where the row passed; the threshold, where
            at least as many do; V where no item may vouch; and -1 where the row was not checked.
        candidate_BP: best items of the catalogue for rows that pass and explore, best first, equal scores by item
            index; 0 elsewhere, and where there are fewer.
        candidate_score_BP: their float64 scores; -inf where the candidate is 0.
        seen_B: items of the catalogue that the row was ranked among.
    """

    own_score_BR: Tensor
    passed_B: Tensor
    voucher_B: Tensor
    better_B: Tensor
    candidate_BP: Tensor
    candidate_score_BP: Tensor
    seen_B: Tensor


class ItemSearch(Protocol):
    """Answers `SearchQuery`s over one item table.

    Attributes:
        name: the implementation, as the manifest and the benchmarks call it.
    """

    name: str

    def search(self, query: SearchQuery, *, rank_threshold: int, top_candidates: int) -> SearchResult:
        """Answer one step's question.

        Raises:
            ArithmeticError: a query vector is not finite.
        """
        ...


@dataclass(frozen=True)
class RankQuery:
    """One item a row, whose rank is asked for.

    Attributes:
        query_BD: query vectors.
        target_B: the items, 1..V.
        excluded_BL: items that do not count, 0-padded, in any order and more than once; the target may be among them.
    """

    query_BD: Tensor
    target_B: Tensor
    excluded_BL: Tensor

    def as_search(self) -> SearchQuery:
        """The target as the row's only own item, which vouches; what is excluded as banned."""
        on_B = torch.ones_like(self.target_B, dtype=torch.bool)
        return SearchQuery(
            query_BD=self.query_BD,
            own_BR=self.target_B[:, None],
            vouching_BR=on_B[:, None],
            checked_B=on_B,
            explore_B=~on_B,
            banned_BL=self.excluded_BL,
        )


class ExactItemSearch(ItemSearch, Protocol):
    """An `ItemSearch` that looks at the whole catalogue, and so can rank."""

    def ranks(self, query: RankQuery, *, cap: int) -> Tensor:
        """Return each target's rank, int64 `[B]`: 1 + the other items that score at least as high.

        Args:
            query: whose ranks.
            cap: the greatest rank that is told apart, at least 1; what lies beyond it is cap + 1.

        Raises:
            ArithmeticError: a query vector is not finite.
        """
        ...


def require_finite_items(items_VD: Tensor, *, name: Callable[[int], str] = "item_index {}".format) -> None:
    """Refuse a table in which a score would mean nothing; row 0 is padding and may hold anything.

    Args:
        items_VD: the table.
        name: what the user calls an item, by its index.

    Raises:
        IntegrityError: names the first item whose vector holds NaN or an infinity.
    """
    if all_finite(items_VD[1:]):
        return
    broken = (~torch.isfinite(items_VD[1:]).all(1)).nonzero()
    raise IntegrityError(
        f"the vector of {name(int(broken[0]) + 1)} is not finite ({len(broken)} such of {len(items_VD) - 1}): "
        "the model is damaged or its training diverged; train it again, with a lower learning rate"
    )


def all_finite(vectors_BD: Tensor) -> bool:
    """Whether no vector holds NaN or an infinity: norms tell it, and are looked into only where one overflows."""
    return bool(torch.isfinite(vectors_BD.norm(dim=1)).all() or torch.isfinite(vectors_BD).all())


def require_finite_queries(query_BD: Tensor) -> None:
    """Refuse queries that no item could be compared under. Raises ArithmeticError."""
    if not all_finite(query_BD):
        raise not_finite_query()


def not_finite_query() -> ArithmeticError:
    """What is raised for such a query: a fault of its source, until too many sources have it."""
    return ArithmeticError("a query vector is not finite: the model is damaged or diverged; train it again")
