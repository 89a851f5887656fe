"""What every `ItemSearch` that claims to be exact must answer, stated once: a float64 full sort, row by row.

Inherit `ItemSearchContract` in a test module and implement `build`. Scores are whole numbers here, so that equal scores
are equal in any precision and any order of summation.
"""

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from rsir_scale.ranking.base import ExactItemSearch, ItemSearch, RankQuery, SearchQuery, SearchResult

# Several classes inherit a test: hypothesis warns of that, since it would mix up what it remembers of them.
inherited = settings(suppress_health_check=[HealthCheck.differing_executors, HealthCheck.too_slow])
seldom = settings(inherited, max_examples=settings.default.max_examples // 5)
Table = TypeVar("Table", SearchQuery, SearchResult)


@dataclass(frozen=True)
class Question:
    """An item table and one step's question about it; `rank_threshold` and `top_candidates` as `search` takes them."""

    items_VD: Tensor
    query: SearchQuery
    rank_threshold: int
    top_candidates: int


@st.composite
def questions(draw: st.DrawFn) -> Question:
    """Catalogues of 2..30 items, many of them alike; 1..12 rows of 1..6 own items, any of them to vouch."""
    item_count, rows, own = draw(st.integers(2, 30)), draw(st.integers(1, 12)), draw(st.integers(1, 6))
    numbers = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    if draw(st.booleans()):
        items = np.append(0, numbers.permutation(item_count) - item_count // 2)[:, None]
        query = numbers.choice([-2, -1, 1, 2], (rows, 1))
    else:
        items = numbers.integers(-2, 3, (item_count + 1, 3))
        query = numbers.integers(-2, 3, (rows, 3))
    top = draw(st.integers(1, item_count + 2))
    own_BR = np.zeros((rows, own), dtype=np.int64)
    for row in own_BR:
        distinct = numbers.permutation(item_count)[: numbers.integers(1, own + 1)] + 1
        row[: len(distinct)] = distinct
    # Blanks inside a row, too: a repeat of an item leaves one.
    own_BR = own_BR[:, numbers.permutation(own)]
    vouching = (numbers.random(own_BR.shape) < 0.6) & (own_BR > 0)
    banned = numbers.integers(0, item_count + 1, (rows, numbers.integers(1, 8)))
    question = SearchQuery(
        query_BD=torch.from_numpy(query).double(),
        own_BR=torch.from_numpy(own_BR),
        vouching_BR=torch.from_numpy(vouching),
        checked_B=torch.from_numpy(numbers.random(rows) < 0.8),
        explore_B=torch.from_numpy(numbers.random(rows) < 0.6),
        banned_BL=torch.from_numpy(banned.astype(np.int64)),
    )
    threshold = draw(st.integers(1, item_count))
    return Question(torch.from_numpy(items).double(), question, threshold, top)


def assert_answers(question: Question, result: SearchResult) -> None:
    """Compare an answer with the full sort of each row."""
    scores_BV = question.query.query_BD.double().numpy() @ question.items_VD.double().numpy().T
    for row, scores in enumerate(scores_BV):
        _assert_row(question, _row(question.query, row), scores, _row(result, row))


def plain_ranks(items_VD: Tensor, query: RankQuery, cap: int) -> list[int]:
    """Rank each target in a float64 loop over the items that may count."""
    scores_BV = query.query_BD.double().numpy() @ items_VD.double().numpy().T
    ranks = []
    for scores, target, excluded in zip(scores_BV, query.target_B.tolist(), query.excluded_BL.tolist(), strict=True):
        others = set(range(1, len(scores))) - {target, *excluded}
        ranks.append(min(cap + 1, 1 + sum(scores[item] >= scores[target] for item in others)))
    return ranks


def _row(table: Table, row: int) -> Table:
    return replace(table, **{name: column[row] for name, column in vars(table).items()})


def _assert_row(question: Question, query: SearchQuery, scores: npt.NDArray[np.float64], result: SearchResult) -> None:
    own = query.own_BR.tolist()
    assert result.own_score_BR.tolist() == [scores[item] if item else -np.inf for item in own]
    vouching = [item for item, may in zip(own, query.vouching_BR.tolist(), strict=True) if may]
    best = max((scores[item] for item in vouching), default=-np.inf)
    better = int((scores[1:] > best).sum())
    checked, passed = bool(query.checked_B), bool(result.passed_B)
    assert passed == (not checked or (bool(vouching) and better < question.rank_threshold))
    capped = min(better, question.rank_threshold) if vouching else len(scores) - 1
    assert int(result.better_B) == (capped if checked else -1)
    assert int(result.voucher_B) in ([item for item in vouching if scores[item] == best] or [0])
    assert int(result.seen_B) == len(scores) - 1
    banned = set(query.banned_BL.tolist())
    ordered = sorted(set(range(1, len(scores))) - banned, key=lambda item: (-scores[item], item))
    wanted = ordered[: question.top_candidates] if passed and query.explore_B else []
    width = min(question.top_candidates, len(scores) - 1)
    assert result.candidate_BP.tolist() == wanted + [0] * (width - len(wanted))
    assert result.candidate_score_BP.tolist() == [scores[i] for i in wanted] + [-np.inf] * (width - len(wanted))


class ItemSearchContract:
    """Tests that every exact search inherits."""

    @abstractmethod
    def build(self, items_VD: Tensor) -> ItemSearch:
        """Return the search over a table `[V + 1, D]` whose row 0 is padding."""

    def ask(self, question: Question) -> SearchResult:
        """Build the search over the question's table and ask."""
        return self.build(question.items_VD).search(
            question.query, rank_threshold=question.rank_threshold, top_candidates=question.top_candidates
        )

    @inherited
    @given(question=questions())
    def test_the_answer_is_that_of_a_full_sort(self, question: Question) -> None:
        assert_answers(question, self.ask(question))

    @inherited
    @given(question=questions(), scale=st.sampled_from([1.0, 2.0**-80, 2.0**80]))
    def test_single_precision_gives_the_same_answer_where_scores_are_exact(
        self, question: Question, scale: float
    ) -> None:
        query = replace(question.query, query_BD=question.query.query_BD.float())
        single = replace(question, items_VD=question.items_VD.float() * scale, query=query)
        assert_answers(single, self.ask(single))

    @inherited
    @given(question=questions())
    def test_padding_is_never_ranked_whatever_its_vector(self, question: Question) -> None:
        items_VD = question.items_VD.clone()
        items_VD[0] = 1e6
        loud = self.ask(replace(question, items_VD=items_VD))
        for name, column in vars(self.ask(question)).items():
            assert torch.equal(column, getattr(loud, name)), name

    @inherited
    @given(question=questions(), data=st.data())
    def test_a_row_is_answered_alike_in_any_company(self, question: Question, data: st.DataObject) -> None:
        rows = data.draw(st.permutations(range(len(question.query.query_BD))))[: data.draw(st.integers(1, 12))]
        query = SearchQuery(*(column[rows] for column in vars(question.query).values()))
        few, all_rows = self.ask(replace(question, query=query)), self.ask(question)
        for name, column in vars(all_rows).items():
            assert torch.equal(column[rows], getattr(few, name)), name

    @inherited
    @given(question=questions())
    def test_the_question_is_left_as_it_was(self, question: Question) -> None:
        before = {name: column.clone() for name, column in vars(question.query).items()}
        items_VD = question.items_VD.clone()
        self.ask(question)
        assert all(torch.equal(column, getattr(question.query, name)) for name, column in before.items())
        assert torch.equal(items_VD, question.items_VD)

    def test_no_vouching_item_fails_the_check_unless_the_row_is_not_checked(self) -> None:
        nobody = SearchQuery(
            query_BD=torch.ones((2, 1)),
            own_BR=torch.tensor([[1], [1]]),
            vouching_BR=torch.zeros((2, 1), dtype=torch.bool),
            checked_B=torch.tensor([True, False]),
            explore_B=torch.tensor([True, True]),
            banned_BL=torch.zeros((2, 1), dtype=torch.int64),
        )
        search = self.build(torch.arange(5.0)[:, None])
        assert search.search(nobody, rank_threshold=3, top_candidates=2).passed_B.tolist() == [False, True]
        unchecked = replace(nobody, checked_B=torch.zeros(2, dtype=torch.bool))
        off = search.search(unchecked, rank_threshold=3, top_candidates=2)
        assert off.passed_B.all()
        assert off.candidate_BP.tolist() == [[4, 3], [4, 3]]

    @pytest.mark.parametrize("top", [1, 3])
    def test_an_own_item_of_the_highest_score_is_never_out_ranked_by_itself(self, top: int) -> None:
        numbers = torch.Generator().manual_seed(0)
        items_VD, query_BD = torch.randn((301, 64), generator=numbers), torch.randn((50, 64), generator=numbers)
        best_B1 = (query_BD @ items_VD[1:].T).argmax(1, keepdim=True) + 1
        on_B = torch.ones(50, dtype=torch.bool)
        query = SearchQuery(query_BD, best_B1, on_B[:, None], on_B, on_B, torch.zeros((50, 1), dtype=torch.int64))
        result = self.build(items_VD).search(query, rank_threshold=1, top_candidates=top)
        assert result.passed_B.all()
        assert result.better_B.tolist() == [0] * 50
        assert torch.equal(result.candidate_BP[:, :1], best_B1)


class ExactItemSearchContract(ItemSearchContract):
    """What a search of the whole catalogue keeps besides."""

    @abstractmethod
    def build(self, items_VD: Tensor) -> ExactItemSearch:
        """As of `ItemSearchContract`."""

    @seldom
    @given(
        question=questions(), cap=st.integers(1, 32), data=st.data(), scale=st.sampled_from([1.0, 2.0**-80, 2.0**80])
    )
    def test_a_rank_counts_ties_and_no_excluded_item(
        self, question: Question, cap: int, data: st.DataObject, scale: float
    ) -> None:
        items_VD, query_BD = question.items_VD.float() * scale, question.query.query_BD.float()
        target = st.integers(1, len(items_VD) - 1)
        targets = data.draw(st.lists(target, min_size=len(query_BD), max_size=len(query_BD)))
        # Blanks, repeats and at times the target itself are among what is excluded.
        query = RankQuery(query_BD, torch.tensor(targets), question.query.banned_BL)
        search = self.build(items_VD)
        assert search.ranks(query, cap=cap).tolist() == plain_ranks(items_VD, query, cap)
        open_query = replace(query, excluded_BL=query.excluded_BL[:, :0])
        assert search.ranks(open_query, cap=cap).tolist() == plain_ranks(items_VD, open_query, cap)
