"""Early ranks equal the full ones up to the cutoff, and lie beyond it where those do."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsir_scale.evaluation import early as module
from rsir_scale.evaluation.early import EarlyRanks
from rsir_scale.evaluation.evaluate import EvaluationSet
from tests.evaluation.worlds import Case, cases, sequences_of


@given(
    case=cases(),
    mask_history=st.booleans(),
    cutoff=st.integers(1, 20),
    items=st.integers(1, 50),
    rows=st.sampled_from([1, 3, 100]),
)
def test_ranks_up_to_the_cutoff_are_those_of_a_plain_loop_whatever_the_blocks(
    case: Case, mask_history: bool, cutoff: int, items: int, rows: int
) -> None:
    count = case.backbone.item_count
    early = EarlyRanks(case.users, item_count=count, mask_history=mask_history, items_per_block=items)
    expected = case.naive_ranks(mask_history=mask_history)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "ROWS_PER_TILE", rows)
        patch.setattr(module, "_ROWS_PER_GROUP", 2 * rows)
        found = early.within(case.backbone, cutoff).tolist()
    assert [min(rank, cutoff + 1) for rank in found] == [min(rank, cutoff + 1) for rank in expected]


@given(case=cases())
def test_asking_again_gives_the_same_ranks(case: Case) -> None:
    early = EarlyRanks(case.users, item_count=case.backbone.item_count, mask_history=True)
    assert np.array_equal(early.within(case.backbone, 5), early.within(case.backbone, 5))


@pytest.mark.parametrize("training", [True, False])
@given(case=cases())
def test_no_users_and_any_mode_are_left_as_they_were(training: bool, case: Case) -> None:
    nobody = EvaluationSet(sequences_of([]), np.empty(0, dtype=np.int32))
    backbone = case.backbone.train(training)
    early = EarlyRanks(nobody, item_count=backbone.item_count, mask_history=True)
    assert early.within(backbone, 20).tolist() == []
    assert backbone.training is training
