"""Ranks are those of a plain loop up to the cap; evaluation sets hold what precedes the target and no more."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rsir_scale.data.dataset import HeldOut
from rsir_scale.errors import DivergedError
from rsir_scale.evaluation import evaluate
from rsir_scale.evaluation.evaluate import EvaluationSet, rank_sets, rank_targets, validation_set
from rsir_scale.evaluation.evaluate import test_set as held_out_test_set
from tests.evaluation.worlds import Case, LastItemBackbone, cases, sequences_of


@given(case=cases(), mask_history=st.booleans(), group=st.sampled_from([1, 7, 100]), cap=st.integers(1, 45) | st.none())
def test_ranks_up_to_the_cap_are_those_of_a_plain_loop_whatever_the_groups(
    case: Case, mask_history: bool, group: int, cap: int | None
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluate, "_ROWS_PER_GROUP", group)
        ranks = rank_targets(case.backbone, case.users, mask_history=mask_history, cap=cap)
    expected = case.naive_ranks(mask_history=mask_history)
    items = case.backbone.item_count
    assert ranks.tolist() == [min(rank, cap + 1) if cap and cap < items else rank for rank in expected]


@given(case=cases(), other=st.integers(1, 3))
def test_sets_ranked_together_have_the_ranks_that_each_has_alone(case: Case, other: int) -> None:
    sets = {"all": case.users, "some": case.users.part(rank=0, of=other)}
    together = rank_sets(case.backbone, sets, mask_history=True, cap=5)
    for name, users in sets.items():
        assert np.array_equal(together[name], rank_targets(case.backbone, users, mask_history=True, cap=5))


def test_a_model_that_scores_all_items_alike_ranks_the_target_last() -> None:
    backbone = LastItemBackbone(torch.zeros((11, 2)), torch.zeros((11, 2)), max_length=3)
    users = EvaluationSet(sequences_of([[1, 2, 3]]), np.array([7], dtype=np.int32))
    assert rank_targets(backbone, users, mask_history=False).tolist() == [10]
    assert rank_targets(backbone, users, mask_history=True).tolist() == [7]


def test_a_target_that_the_mask_hides_comes_last_though_it_scores_best() -> None:
    best = LastItemBackbone(torch.tensor([[0.0], [1.0], [9.0], [2.0]]), torch.ones((4, 1)), max_length=3)
    users = EvaluationSet(sequences_of([[2, 1], [3, 1]]), np.array([2, 2], dtype=np.int32))
    assert users.masked().tolist() == [True, False]
    # Beyond the cutoffs of all metrics, however small the catalogue is.
    assert rank_targets(best, users, mask_history=True).tolist() == [21, 1]
    assert rank_targets(best, users, mask_history=True, cap=20).tolist() == [21, 1]
    assert rank_targets(best, users, mask_history=False).tolist() == [1, 1]


@pytest.mark.parametrize("users", [1, 5, 130])
@pytest.mark.parametrize("count", [2, 5, 11, 140_000])
def test_items_of_one_vector_tie_to_the_last_bit_in_any_catalogue(count: int, users: int) -> None:
    draws = torch.Generator().manual_seed(users)
    backbone = LastItemBackbone(torch.zeros((1, 16)), torch.zeros((1, 16)), max_length=3)
    backbone.item_count = count
    backbone.items_VD = torch.randn(16, generator=draws).expand(count + 1, 16).contiguous()
    backbone.reads_VD = torch.randn((users + 1, 16), generator=draws)
    rows = EvaluationSet(sequences_of([[1 + user] for user in range(users)]), np.full(users, count, dtype=np.int32))
    assert (rank_targets(backbone, rows, mask_history=False) == count).all()
    assert (rank_targets(backbone, rows, mask_history=False, cap=1000) == min(count, 1001)).all()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_target_whose_score_is_no_number_has_no_rank(value: float) -> None:
    backbone = LastItemBackbone(torch.full((11, 2), value), torch.ones((11, 2)), max_length=3)
    users = EvaluationSet(sequences_of([[1, 2, 3]]), np.array([7], dtype=np.int32))
    for cap in (20, None):
        with pytest.raises(DivergedError, match=r"NaN or infinity.*training\.learning_rate"):
            rank_targets(backbone, users, mask_history=False, cap=cap)


def test_no_users_have_no_ranks() -> None:
    backbone = LastItemBackbone(torch.ones((3, 1)), torch.ones((3, 1)), max_length=3)
    users = EvaluationSet(sequences_of([]), np.empty(0, dtype=np.int32))
    assert rank_targets(backbone, users, mask_history=True).tolist() == []


@pytest.mark.parametrize("training", [True, False])
def test_ranking_leaves_the_model_in_the_mode_it_was_in(training: bool) -> None:
    backbone = LastItemBackbone(torch.ones((3, 1)), torch.ones((3, 1)), max_length=3).train(training)
    rank_targets(backbone, EvaluationSet(sequences_of([[1]]), np.array([2], dtype=np.int32)), mask_history=True)
    assert backbone.training is training


@st.composite
def splits(draw: st.DrawFn) -> list[tuple[list[int], int, int]]:
    """Users as (training items, validation item, test item), 0 for none; a test item never comes without the other."""
    item = st.integers(1, 9)
    held_out = st.tuples(item, item) | st.tuples(item, st.just(0)) | st.just((0, 0))
    return [(draw(st.lists(item, min_size=1, max_size=5)), *draw(held_out)) for _ in range(draw(st.integers(0, 8)))]


@given(users=splits(), first_id=st.integers(0, 9))
def test_a_validation_context_ends_before_its_target_and_a_test_context_after_the_validation_item(
    users: list[tuple[list[int], int, int]], first_id: int
) -> None:
    ids = list(range(first_id, first_id + len(users)))
    training = sequences_of([user[0] for user in users], ids)
    columns = [np.array([user[place] for user in users], dtype=np.int32) for place in (1, 2)]
    held_out = HeldOut(np.array(ids, dtype=np.int64), *columns)
    validation = [(i, items, v) for i, (items, v, _) in zip(ids, users, strict=True) if v]
    assert _listed(validation_set(training, held_out)) == validation
    test = [(i, [*items, v], t) for i, (items, v, t) in zip(ids, users, strict=True) if t]
    assert _listed(held_out_test_set(training, held_out)) == test


def _listed(users: EvaluationSet) -> list[tuple[int, list[int], int]]:
    rows = [users.contexts.row(row).tolist() for row in range(len(users.contexts))]
    return list(zip(users.contexts.ids.tolist(), rows, users.targets.tolist(), strict=True))


@given(case=cases(), workers=st.integers(1, 5))
def test_the_shares_of_all_workers_hold_each_user_once(case: Case, workers: int) -> None:
    shares = [case.users.part(rank=rank, of=workers) for rank in range(workers)]
    assert sorted(row for share in shares for row in _listed(share)) == sorted(_listed(case.users))
    assert max(len(share.targets) for share in shares) - min(len(share.targets) for share in shares) <= 1
