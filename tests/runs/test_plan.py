"""The shard plan: every row once, whatever the files; stored once; not the actors' business."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsir_scale.errors import IntegrityError
from rsir_scale.runs import layout
from rsir_scale.runs.lineage import SequenceFile
from rsir_scale.runs.plan import ShardPlan, make_plan, read_plan
from rsir_scale.storage.opening import open_store
from tests.runs.world import USERS, ZERO, planned


def _plan(rows: list[int], shard_sources: int, trials: int = 3) -> ShardPlan:
    files = [
        SequenceFile(where="dataset", key=f"f{index}", rows=count, sha256=ZERO) for index, count in enumerate(rows)
    ]
    return make_plan(
        files, iteration=0, shard_sources=shard_sources, trials_per_sequence=trials, first_sequence_id=1000
    )


@given(st.lists(st.integers(0, 30), max_size=6), st.integers(1, 12))
def test_every_row_is_in_exactly_one_shard_and_in_order(rows: list[int], shard_sources: int) -> None:
    plan = _plan(rows, shard_sources)
    covered = [
        (piece.file, row)
        for shard in plan.shards
        for piece in shard.slices
        for row in range(piece.first_row, piece.first_row + piece.rows)
    ]
    assert covered == [(file, row) for file, count in enumerate(rows) for row in range(count)]
    assert [shard.index for shard in plan.shards] == list(range(len(plan.shards)))
    assert all(shard.rows == shard_sources for shard in plan.shards[:-1])
    assert [shard.first_position for shard in plan.shards] == [
        sum(other.rows for other in plan.shards[:index]) for index in range(len(plan.shards))
    ]


@given(st.lists(st.integers(0, 12), max_size=4), st.integers(1, 5), st.integers(1, 4))
def test_ids_are_unique_and_leave_off_where_the_next_iteration_begins(
    rows: list[int], shard_sources: int, trials: int
) -> None:
    plan = _plan(rows, shard_sources, trials)
    ids = [
        plan.sequence_id(shard, source, trial)
        for shard in plan.shards
        for source in range(shard.rows)
        for trial in range(trials)
    ]
    assert ids == list(range(1000, plan.next_sequence_id))


def test_stored_plan_is_reused_and_knows_no_actors(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    first = planned(store)
    written = store.read(layout.plan(0))
    assert planned(store, actors=7) == first == read_plan(store, 0)
    assert store.read(layout.plan(0)) == written
    assert first.first_sequence_id == first.rows == USERS


def test_plan_of_other_settings_is_refused(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    planned(store)
    with pytest.raises(IntegrityError, match="not the plan"):
        planned(store, shard_sources=4)


def test_damaged_plan_is_named(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.put(layout.plan(0), b'{"iteration": 0')
    with pytest.raises(IntegrityError, match=r"plan\.json"):
        read_plan(store, 0)
