"""Commits: crash anywhere, race anyhow, and each shard counts exactly once."""

import os
import signal
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from rsir_scale.errors import IntegrityError, StorageFullError
from rsir_scale.runs import layout
from rsir_scale.runs.commits import (
    CommitRecord,
    check_conservation,
    commit,
    missing_shards,
    read_commit,
    read_commits,
    total_counts,
    write_errors,
    write_part,
)
from rsir_scale.runs.lineage import read_columns
from rsir_scale.runs.plan import ShardPlan
from rsir_scale.runs.records import FileEntry
from rsir_scale.storage.base import Store
from rsir_scale.storage.local import LocalStore
from rsir_scale.storage.opening import open_store
from tests.runs.world import commit_shards, planned, record_of, rows_of, table

PROTOCOL = [
    f"{operation}.{step}"
    for operation, steps in (
        ("put_new", ("write", "sync", "sync_folder", "done")),
        ("create", ("write", "sync", "link", "sync_folder", "unlink", "done")),
    )
    for step in steps
]


def _committed_rows(store: Store, plan: ShardPlan) -> list[tuple[int, list[int]]]:
    rows = []
    for record in read_commits(store, plan):
        part = read_columns(store, record.part.key, ["sequence_id", "items"], expected=record.part.rows)
        rows.extend(zip(part["sequence_id"].to_pylist(), part["items"].to_pylist(), strict=True))
    return rows


def _all_rows(plan: ShardPlan) -> list[tuple[int, list[int]]]:
    return [(row[0], list(row[3])) for shard in plan.shards for row in rows_of(plan, shard)]


@pytest.mark.parametrize("step", PROTOCOL)
def test_kill_at_any_step_then_the_same_again_loses_and_doubles_nothing(tmp_path: Path, step: str) -> None:
    store = open_store(tmp_path)
    plan = planned(store)
    victim = plan.shards[1]

    def before(reached: str, key: str) -> None:
        if reached == step and "generation/" in key:
            os.kill(os.getpid(), signal.SIGKILL)

    child = os.fork()
    if child == 0:
        commit_shards(LocalStore(tmp_path, before=before), plan, "killed", [victim])
        os._exit(0)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
    for record in read_commits(store, plan):
        assert store.exists(record.part.key)
    commit_shards(store, plan, "again", missing_shards(store, plan))
    assert missing_shards(store, plan) == []
    assert _committed_rows(store, plan) == _all_rows(plan)


def test_first_commit_wins_and_the_second_learns_of_it(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    plan = planned(store)
    shard = plan.shards[0]
    records = []
    for attempt in ("slow", "fast"):
        part = write_part(store, iteration=0, shard=0, attempt=attempt, table=table(rows_of(plan, shard)))
        records.append(record_of(plan, shard, attempt, part))
    assert commit(store, records[1]) == records[1]
    assert commit(store, records[0]) == records[1]
    assert commit(store, records[1]) == records[1]
    assert read_commit(store, 0, 0) == records[1]
    assert read_commit(store, 0, 1) is None


def test_parts_are_equal_bytes_for_equal_rows(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    plan = planned(store)
    parts = [
        write_part(store, iteration=0, shard=0, attempt=attempt, table=table(rows_of(plan, plan.shards[0])))
        for attempt in ("a", "b")
    ]
    assert parts[0].sha256 == parts[1].sha256
    assert parts[0].key != parts[1].key


def test_shard_without_rows_commits_an_empty_part(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    plan = planned(store)
    part = write_part(store, iteration=0, shard=0, attempt="a", table=table([]))
    commit(store, record_of(plan, plan.shards[0], "a", part))
    found = read_commit(store, 0, 0)
    assert found is not None
    assert found.part.rows == 0
    assert read_columns(store, found.part.key, ["sequence_id", "items"], expected=0).num_rows == 0


def test_full_disk_while_a_part_is_written_commits_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(tmp_path)
    plan = planned(store)

    def refuse(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    before = list(store.list(""))
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", refuse)
        with pytest.raises(StorageFullError):
            commit_shards(store, plan, "a", plan.shards)
    assert list(store.list("")) == before
    assert len(missing_shards(store, plan)) == len(plan.shards)
    commit_shards(store, plan, "a", missing_shards(store, plan))
    assert _committed_rows(store, plan) == _all_rows(plan)


def _record(rows: int, **counts: int) -> CommitRecord:
    part = FileEntry(key=layout.part(0, 0, "a"), kind="part", sha256="0" * 64, bytes=1, rows=rows)
    return CommitRecord(iteration=0, shard=0, attempt="a", part=part, counts=counts, seconds=0.0)


def test_conservation_counts_rows_stops_and_errors(tmp_path: Path) -> None:
    sound = _record(2, trials=9, rows_kept=2, stop_rejected=3, stop_short=1, errors=3, steps=40)
    set_aside = sound.part.model_copy(update={"kind": "errors", "rows": 1})
    with_errors = sound.model_copy(update={"errors": set_aside})
    check_conservation(with_errors)
    for broken in (
        with_errors.model_copy(update={"counts": with_errors.counts | {"trials": 10}}),
        with_errors.model_copy(update={"errors": None}),
        with_errors.model_copy(update={"errors": set_aside.model_copy(update={"rows": 2})}),
        _record(2, trials=2, rows_kept=2).model_copy(update={"errors": set_aside}),
        _record(1, trials=3, rows_kept=2, stop_rejected=1),
        _record(1),
    ):
        with pytest.raises(IntegrityError):
            commit(open_store(tmp_path), broken)
    assert list(open_store(tmp_path).list("")) == []


def test_counters_add_up_by_name() -> None:
    records = [_record(1, trials=2, rows_kept=1, stop_a=1), _record(1, trials=2, rows_kept=1, stop_b=1)]
    assert total_counts(records) == {"rows_kept": 2, "stop_a": 1, "stop_b": 1, "trials": 4}


def test_record_that_speaks_of_another_shard_is_refused(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    plan = planned(store)
    commit_shards(store, plan, "a", plan.shards[:1])
    store.put(layout.commit(0, 1), store.read(layout.commit(0, 0)))
    with pytest.raises(IntegrityError, match="speaks of shard 0"):
        read_commit(store, 0, 1)


def test_errors_have_a_table_of_their_own(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    entry = write_errors(store, iteration=0, shard=3, attempt="a", table=table([]).select(["sequence_id"]))
    assert (entry.kind, entry.key) == ("errors", layout.errors(0, 3, "a"))


class Interleavings(RuleBasedStateMachine):
    """Several attempts write, commit, crash and restart in any order; the model is which attempt came first."""

    @initialize()
    def begin(self) -> None:
        self.folder = TemporaryDirectory()
        self.store = open_store(self.folder.name)
        self.plan = planned(self.store)
        self.written: dict[tuple[int, str], FileEntry] = {}
        self.first: dict[int, str] = {}
        self.attempts = 0

    @rule(shard=st.integers(0, 4))
    def write(self, shard: int) -> None:
        self.attempts += 1
        attempt = f"try{self.attempts}"
        self.written[shard, attempt] = write_part(
            self.store,
            iteration=0,
            shard=shard,
            attempt=attempt,
            table=table(rows_of(self.plan, self.plan.shards[shard])),
        )

    @rule(shard=st.integers(0, 4), which=st.integers(0, 5))
    def commit(self, shard: int, which: int) -> None:
        attempts = [attempt for number, attempt in self.written if number == shard]
        if not attempts:
            return
        attempt = attempts[which % len(attempts)]
        record = record_of(self.plan, self.plan.shards[shard], attempt, self.written[shard, attempt])
        self.first.setdefault(shard, attempt)
        assert commit(self.store, record).attempt == self.first[shard]

    @rule()
    def lose_the_memory_of_uncommitted_attempts(self) -> None:
        self.written = {key: entry for key, entry in self.written.items() if self.first.get(key[0]) == key[1]}

    @rule()
    def finish(self) -> None:
        missing = missing_shards(self.store, self.plan)
        self.attempts += 1
        commit_shards(self.store, self.plan, f"try{self.attempts}", missing)
        self.first |= {shard.index: f"try{self.attempts}" for shard in missing}
        assert _committed_rows(self.store, self.plan) == _all_rows(self.plan)

    @invariant()
    def first_commits_count_and_no_others(self) -> None:
        found = {record.shard: record.attempt for record in read_commits(self.store, self.plan)}
        assert found == self.first
        assert {shard.index for shard in missing_shards(self.store, self.plan)} == set(range(5)) - set(found)

    def teardown(self) -> None:
        self.folder.cleanup()


TestInterleavings = Interleavings.TestCase
TestInterleavings.settings = settings(max_examples=25, stateful_step_count=20)
