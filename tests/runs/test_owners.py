"""Every written row has one user behind it, however long the chain; guesses of held-out items are counted exactly."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsir_scale.data.dataset import HeldOut, PreparedDataset
from rsir_scale.data.sequences import offsets_of, to_list_array
from rsir_scale.errors import IntegrityError
from rsir_scale.runs.lineage import Omitted, SequenceFile
from rsir_scale.runs.manifest import read_chain
from rsir_scale.runs.owners import TEST_HITS, VALIDATION_HITS, Owners, held_out_hits, kept_rows, owners
from rsir_scale.runs.records import FileEntry, write_entry
from rsir_scale.runs.run import Run
from rsir_scale.storage.opening import open_store
from tests.loop.tiny_run import tiny_run
from tests.runs.world import USERS, config, dataset


def test_owners_follow_the_chain_of_sources_to_a_user() -> None:
    run = tiny_run()
    source_of = {}
    for manifest in read_chain(run.store):
        for entry in manifest.files:
            if entry.kind == "part":
                table = pq.read_table(run.path / entry.key)
                columns = table.column("sequence_id").to_pylist(), table.column("source_sequence_id").to_pylist()
                source_of.update(zip(*columns, strict=True))
    known = owners(run, 2)
    assert (np.diff(known.ids) > 0).all()
    generations = set()
    for row, user in zip(known.ids.tolist(), known.users.tolist(), strict=True):
        root, steps = row, 0
        while root >= run.dataset.meta.users:
            root, steps = source_of[root], steps + 1
        assert user == root
        generations.add(steps)
    # A run in which no row descends from a written one would prove nothing.
    assert generations == {1, 2}
    assert len(known.ids) == sum(m.generation.rows for m in read_chain(run.store) if m.generation is not None)


def test_owners_before_the_first_iteration_are_the_users_alone() -> None:
    run = tiny_run()
    known = owners(run, 0)
    assert len(known.ids) == 0
    np.testing.assert_array_equal(known.of(np.array([3, 0])), [3, 0])


@given(st.lists(st.integers(10, 60), unique=True, max_size=20), st.data())
def test_unknown_sources_are_refused_and_known_ones_keep_their_order(ids: list[int], data: st.DataObject) -> None:
    users = data.draw(st.lists(st.integers(0, 9), min_size=len(ids), max_size=len(ids)))
    known = Owners(10, np.array(sorted(ids), dtype=np.int64), np.array(users, dtype=np.int64))
    expected = {**{user: user for user in range(10)}, **dict(zip(sorted(ids), users, strict=True))}
    asked = data.draw(st.lists(st.sampled_from(sorted(expected)), max_size=20))
    assert known.of(np.array(asked, dtype=np.int64)).tolist() == [expected[each] for each in asked]
    stranger = data.draw(st.integers(-5, 70).filter(lambda each: each not in expected))
    with pytest.raises(IntegrityError, match=str(stranger)):
        known.of(np.array([*asked, stranger], dtype=np.int64))


class _WithHeldOut(PreparedDataset):
    """The market, with one validation and one test item for everybody."""

    def held_out(self) -> HeldOut:
        ids = np.arange(USERS)
        return HeldOut(ids, np.full(USERS, 50, np.int32), np.where(ids == 0, 0, 51).astype(np.int32))


# One row: sequence_id, source user, start_length, items.
_Row = tuple[int, int, int, list[int]]


def _write(folder: Path, rows: list[_Row], dropped: list[int]) -> list[FileEntry]:
    store = open_store(folder)
    items = np.array([item for row in rows for item in row[3]], dtype=np.int32)
    part = pa.table(
        {
            "sequence_id": pa.array([row[0] for row in rows], pa.int64()),
            "items": to_list_array(offsets_of([len(row[3]) for row in rows]), items),
            "source_sequence_id": pa.array([row[1] for row in rows], pa.int64()),
            "start_length": pa.array([row[2] for row in rows], pa.int32()),
        }
    )
    entries = []
    for key, kind, table in (
        ("a", "part", part),
        ("b", "dropped", pa.table({"sequence_id": pa.array(dropped, pa.int64())})),
    ):
        buffer = pa.BufferOutputStream()
        pq.write_table(table, buffer)
        entries.append(write_entry(store, key, kind, buffer.getvalue().to_pybytes(), rows=table.num_rows))  # type: ignore[arg-type]
    return entries


_SEQUENCES = st.lists(st.sampled_from([1, 2, 50, 51]), min_size=2, max_size=6)


@given(st.lists(st.tuples(st.integers(0, USERS - 1), _SEQUENCES, st.integers(1, 5), st.booleans()), max_size=12))
def test_a_hit_is_a_kept_row_whose_generated_part_holds_the_held_out_item(
    tmp_path_factory: pytest.TempPathFactory, drawn: list[tuple[int, list[int], int, bool]]
) -> None:
    folder = tmp_path_factory.mktemp("run")
    rows = [(USERS + i, user, min(start, len(items)), items) for i, (user, items, start, _) in enumerate(drawn)]
    dropped = [USERS + i for i, row in enumerate(drawn) if row[3]]
    entries = _write(folder, rows, dropped)
    market = _WithHeldOut(dataset().path, dataset().meta)
    kept = [row for row in rows if row[0] not in dropped]
    assert held_out_hits(Run(open_store(folder), market, config()), 0, entries) == {
        VALIDATION_HITS: sum(50 in row[3][row[2] :] for row in kept),
        TEST_HITS: sum(51 in row[3][row[2] :] and row[1] != 0 for row in kept),
    }


def test_kept_rows_leave_dropped_ones_out(tmp_path: Path) -> None:
    entries = _write(tmp_path, [(30, 1, 1, [1, 2]), (31, 1, 1, [1, 3])], [30])
    store = open_store(tmp_path)
    without = (Omitted(key="b", sha256=entries[1].sha256),)
    file = SequenceFile(where="run", key="a", rows=2, sha256=entries[0].sha256, without=without)
    assert [table.column("sequence_id").to_pylist() for table in kept_rows(store, [file], ["sequence_id"])] == [[31]]
    with pytest.raises(IntegrityError, match="holds 2 rows"):
        list(kept_rows(store, [file.model_copy(update={"rows": 3})], ["sequence_id"]))
