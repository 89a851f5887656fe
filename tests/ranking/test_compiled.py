"""The compiled search keeps the contract of `ItemSearch` with every set of instructions that this processor has."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from rsir_scale.errors import ConfigError, IntegrityError
from rsir_scale.ranking.base import ExactItemSearch, RankQuery, SearchQuery, SearchResult
from rsir_scale.ranking.compiled import CompiledSearch, instructions
from rsir_scale.ranking.exact import ExactSearch
from rsir_scale.ranking.score import exact_scores
from tests.ranking.contract import ExactItemSearchContract, Question, inherited, seldom
from tests.ranking.worlds import alike, trained_like

pytestmark = pytest.mark.skipif(not instructions(), reason="the kernel was not built: no C++ compiler was found")


class CompiledContract(ExactItemSearchContract):
    using: str

    def build(self, items_VD: Tensor) -> ExactItemSearch:
        return CompiledSearch(items_VD.float(), using=self.using)

    def ask(self, question: Question) -> SearchResult:
        query = replace(question.query, query_BD=question.query.query_BD.float())
        return super().ask(replace(question, query=query))

    @inherited
    @given(seed=st.integers(0, 2**32 - 1), threshold=st.integers(1, 40), top=st.integers(1, 60))
    def test_every_bit_is_that_of_the_plain_search(self, seed: int, threshold: int, top: int) -> None:
        items_VD, query = trained_like(seed, items=600, rows=70, width=20)
        plain = ExactSearch(items_VD).search(query, rank_threshold=threshold, top_candidates=top)
        compiled = self.build(items_VD).search(query, rank_threshold=threshold, top_candidates=top)
        for name, column in vars(plain).items():
            assert torch.equal(column, getattr(compiled, name)), name

    @seldom
    @given(seed=st.integers(0, 2**32 - 1), cap=st.sampled_from([1, 20, 150, 600]), same=st.booleans())
    def test_ranks_of_real_scores_are_those_of_the_plain_search_and_of_a_plain_loop(
        self, seed: int, cap: int, same: bool
    ) -> None:
        items_VD, asked = (alike if same else trained_like)(seed, items=600, rows=40, width=20)
        query = RankQuery(asked.query_BD, asked.own_BR[:, 0].clamp(min=1), asked.banned_BL)
        found_B = self.build(items_VD).ranks(query, cap=cap)
        assert torch.equal(found_B, ExactSearch(items_VD).ranks(query, cap=cap))
        score_BV = torch.stack([exact_scores(row_D.expand(601, -1), items_VD) for row_D in query.query_BD])
        counts_BV = score_BV >= score_BV.gather(1, query.target_B[:, None])
        counts_BV.scatter_(1, torch.cat([query.excluded_BL, query.target_B[:, None]], 1), False)
        assert torch.equal(found_B, 1 + counts_BV[:, 1:].sum(1).clamp(max=cap))

    @inherited
    @given(seed=st.integers(0, 2**32 - 1))
    def test_items_that_are_all_alike_are_told_apart_by_their_index(self, seed: int) -> None:
        items_VD, query = alike(seed, items=900, rows=40, width=8)
        plain = ExactSearch(items_VD).search(query, rank_threshold=300, top_candidates=30)
        compiled = self.build(items_VD).search(query, rank_threshold=300, top_candidates=30)
        for name, column in vars(plain).items():
            assert torch.equal(column, getattr(compiled, name)), name

    @inherited
    @given(seed=st.integers(0, 2**32 - 1), small=st.sampled_from([0.0, 1e-44, 1e-38, 1e-19]))
    def test_vectors_of_the_least_lengths_are_ranked_alike(self, seed: int, small: float) -> None:
        items_VD, query = trained_like(seed, items=200, rows=40, width=8)
        items_VD[::2] *= small
        query = replace(query, query_BD=query.query_BD * torch.tensor([1.0, small]).repeat(20)[:, None])
        plain = ExactSearch(items_VD).search(query, rank_threshold=20, top_candidates=30)
        compiled = self.build(items_VD).search(query, rank_threshold=20, top_candidates=30)
        for name, column in vars(plain).items():
            assert torch.equal(column, getattr(compiled, name)), name

    @inherited
    @given(
        seed=st.integers(0, 2**32 - 1),
        width=st.sampled_from([1, 7, 33, 70]),
        decades=st.sampled_from([0.0, 3.0, 12.0]),
        length=st.sampled_from([1e-12, 1.0, 1e12]),
        sign=st.sampled_from([-1.0, 0.0, 1.0]),
    )
    def test_neighbours_of_any_scale_and_sign_are_ranked_alike(
        self, seed: int, width: int, decades: float, length: float, sign: float
    ) -> None:
        """Items that share a scale may differ by decades, and floors lie far beyond what a sum can reach."""
        items_VD, query = trained_like(seed, items=90, rows=45, width=width)
        numbers = torch.Generator().manual_seed(seed)
        if sign:
            items_VD, query = sign * items_VD.abs(), replace(query, query_BD=query.query_BD.abs())
        items_VD *= length * 10 ** -(decades * torch.rand((91, 1), generator=numbers))
        items_VD[torch.rand(91, generator=numbers) < 0.1] = 0
        query.query_BD[torch.rand(45, generator=numbers) < 0.1] = 0
        plain = ExactSearch(items_VD).search(query, rank_threshold=7, top_candidates=20)
        compiled = self.build(items_VD).search(query, rank_threshold=7, top_candidates=20)
        for name, column in vars(plain).items():
            assert torch.equal(column, getattr(compiled, name)), name

    @pytest.mark.parametrize("top", [100, 400, 1500])
    def test_many_candidates_are_ordered_as_few_are(self, top: int) -> None:
        """Up to some hundreds are put in order by counting, more by sorting; ties are between both kinds."""
        items_VD, query = trained_like(top, items=2500, rows=40, width=16)
        copies = torch.randint(1, 2501, (2, 900), generator=torch.Generator().manual_seed(top))
        items_VD[copies[0]] = items_VD[copies[1]]
        plain = ExactSearch(items_VD).search(query, rank_threshold=2000, top_candidates=top)
        compiled = self.build(items_VD).search(query, rank_threshold=2000, top_candidates=top)
        for name, column in vars(plain).items():
            assert torch.equal(column, getattr(compiled, name)), name


def _suite(name: str) -> type[CompiledContract]:
    return type(f"TestWith{name.title().replace('-', '')}", (CompiledContract,), {"using": name})


for _name in instructions() or ("none",):
    globals()[_suite(_name).__name__] = _suite(_name)


def test_items_that_are_not_finite_are_refused_by_their_index() -> None:
    items_VD = torch.ones((9, 4))
    items_VD[7, 2] = float("nan")
    for search in (CompiledSearch, ExactSearch):
        with pytest.raises(IntegrityError, match="item_index 7 is not finite"):
            search(items_VD)


def test_queries_that_are_not_finite_are_refused() -> None:
    items_VD, query = trained_like(0, items=50, rows=4, width=8)
    broken = replace(query, query_BD=query.query_BD * float("inf"))
    for search in (CompiledSearch(items_VD), ExactSearch(items_VD)):
        with pytest.raises(ArithmeticError, match="query vector is not finite"):
            search.search(broken, rank_threshold=3, top_candidates=2)


def test_unknown_instructions_and_other_precisions_are_refused_with_what_there_is() -> None:
    with pytest.raises(ConfigError, match="generic"):
        CompiledSearch(torch.ones((4, 2)), using="abacus")
    with pytest.raises(ConfigError, match="float32"):
        CompiledSearch(torch.ones((4, 2), dtype=torch.float64))


def test_an_answer_does_not_depend_on_what_was_asked_before() -> None:
    items_VD, query = trained_like(1, items=3000, rows=1300, width=16)
    search = CompiledSearch(items_VD)
    first = search.search(query, rank_threshold=5, top_candidates=50)
    narrow = SearchQuery(*(column[:7] for column in vars(query).values()))
    search.search(narrow, rank_threshold=100, top_candidates=3)
    again = search.search(query, rank_threshold=5, top_candidates=50)
    assert all(torch.equal(column, getattr(again, name)) for name, column in vars(first).items())
    assert 0 < int(first.passed_B.sum()) < 1300
    assert np.isfinite(first.candidate_score_BP[first.passed_B & query.explore_B].numpy()).all()
