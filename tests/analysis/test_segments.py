from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rsir_scale.analysis.segments import LENGTHS, NEW, TARGETS, segments, segments_of
from tests.loop.tiny_run import tiny_dataset

counts = st.lists(st.tuples(st.integers(1, 50), st.integers(0, 30)), min_size=1, max_size=40)


@given(counts)
def test_each_user_is_in_one_third_by_length_and_in_one_group_by_target(users: list[tuple[int, int]]) -> None:
    lengths, occurrences = (np.array(values) for values in zip(*users, strict=True))
    found = segments(lengths, occurrences)
    assert (sum(found[name].astype(int) for name in LENGTHS) == 1).all()
    assert (sum(found[name].astype(int) for name in (*TARGETS, NEW)) == 1).all()
    assert (found[NEW] == (occurrences == 0)).all()


@given(counts)
def test_thirds_are_in_order_and_equal_users_stay_together(users: list[tuple[int, int]]) -> None:
    lengths, occurrences = (np.array(values) for values in zip(*users, strict=True))
    found = segments(lengths, occurrences)
    assert found[LENGTHS[0]].any()
    groups = [set(lengths[found[name]].tolist()) for name in LENGTHS]
    for lower, higher in pairwise(groups):
        assert not lower or not higher or max(lower) < min(higher)


def test_a_dataset_s_users_are_grouped_by_their_own_history_and_target() -> None:
    dataset = tiny_dataset()
    training, test = dataset.training_sequences(), dataset.held_out().test
    ids = np.flatnonzero(test > 0)
    found = segments_of(dataset, ids)
    longest = found["length/long"]
    assert training.lengths[ids][longest].min() > training.lengths[ids][found["length/short"]].max()
    often = np.array([(training.items == test[user]).sum() for user in ids])
    assert often[found["target/head"]].min() > often[found["target/tail"]].max()
