"""What a search counted and found becomes an answer by the same rules, whichever search it was."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rsir_scale.ranking.answer import answer, best_first, best_vouchers, judge, without
from rsir_scale.ranking.base import SearchQuery
from rsir_scale.ranking.score import exact_scores, rounding_band

MINUS_INFINITY = float("-inf")


def _query(*, checked: bool = True, explore: bool = True, vouching: tuple[bool, ...] = (True, True)) -> SearchQuery:
    """One row over a table whose item i scores i; its own items are 2 and 5, and item 7 is banned."""
    return SearchQuery(
        query_BD=torch.ones((1, 1)),
        own_BR=torch.tensor([[2, 5]]),
        vouching_BR=torch.tensor([vouching]),
        checked_B=torch.tensor([checked]),
        explore_B=torch.tensor([explore]),
        banned_BL=torch.tensor([[7, 0]]),
    )


ITEMS_VD = torch.arange(10.0)[:, None]


def test_the_best_item_that_may_vouch_does() -> None:
    for vouching, item, score in [((True, True), 5, 5.0), ((True, False), 2, 2.0), ((False, False), 0, MINUS_INFINITY)]:
        own_score_BR, target_B, voucher_B = best_vouchers(_query(vouching=vouching), ITEMS_VD)
        assert own_score_BR.tolist() == [[2.0, 5.0]]
        assert (voucher_B.item(), target_B.item()) == (item, score)


@given(better=st.integers(0, 20), threshold=st.integers(1, 20))
def test_a_row_passes_where_fewer_items_are_better_than_the_threshold(better: int, threshold: int) -> None:
    passed_B, better_B = judge(
        _query(), torch.tensor([5]), torch.tensor([better]), rank_threshold=threshold, item_count=9
    )
    assert passed_B.item() == (better < threshold)
    assert better_B.item() == min(better, threshold)


def test_a_row_passes_unseen_where_it_is_not_checked_and_fails_where_nothing_vouches() -> None:
    none, zero = torch.tensor([0]), torch.tensor([0])
    unchecked = judge(_query(checked=False), none, zero, rank_threshold=1, item_count=9)
    alone = judge(_query(), none, zero, rank_threshold=1, item_count=9)
    assert [column.item() for column in unchecked] == [True, -1]
    assert [column.item() for column in alone] == [False, 9]


@pytest.mark.parametrize(("passed", "explore"), [(True, True), (True, False), (False, True), (False, False)])
def test_candidates_are_only_for_rows_that_pass_and_explore(passed: bool, explore: bool) -> None:
    query, judged = _query(explore=explore), (torch.tensor([passed]), torch.tensor([1]))
    found = torch.tensor([[9]]), torch.tensor([[9.0]], dtype=torch.float64)
    told = answer(query, torch.zeros((1, 2)), torch.tensor([5]), judged, found, item_count=9)
    expected = (9, 9.0) if passed and explore else (0, MINUS_INFINITY)
    assert (told.candidate_BP.item(), told.candidate_score_BP.item()) == expected
    assert (told.passed_B.item(), told.seen_B.item()) == (passed, 9)


def test_equal_scores_are_ordered_by_item_index() -> None:
    score_BP, item_BP = best_first(torch.tensor([[1.0, 3.0, 1.0, 3.0]]), torch.tensor([[9, 8, 2, 5]]))
    assert item_BP.tolist() == [[5, 8, 2, 9]]
    assert score_BP.tolist() == [[3.0, 3.0, 1.0, 1.0]]


def test_banned_items_leave_their_places_to_those_behind_them() -> None:
    ordered = torch.tensor([[9.0, 7.0, 5.0]]), torch.tensor([[9, 7, 5]])
    score_BP, item_BP = without(torch.tensor([[7, 0]]), *ordered, 2)
    assert (score_BP.tolist(), item_BP.tolist()) == ([[9.0, 5.0]], [[9, 5]])
    score_BP, _ = without(torch.tensor([[7, 9]]), *ordered, 2)
    assert score_BP.tolist() == [[5.0, MINUS_INFINITY]]


@given(seed=st.integers(0, 2**31), width=st.integers(1, 90))
def test_no_score_in_single_precision_leaves_its_band(seed: int, width: int) -> None:
    numbers = torch.Generator().manual_seed(seed)
    query_BD, items_VD = torch.randn((20, width), generator=numbers), torch.randn((30, width), generator=numbers)
    band_B = rounding_band(query_BD, float(items_VD.double().norm(dim=1).max()))
    exact_BV = torch.stack([exact_scores(query_D.expand(30, -1), items_VD) for query_D in query_BD])
    assert ((query_BD @ items_VD.T).double() - exact_BV).abs().le(band_B[:, None]).all()
