"""D_k: real files and committed parts, less what was dropped; slices read no more than they must."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rsir_scale.errors import IntegrityError
from rsir_scale.runs import layout
from rsir_scale.runs.commits import write_part
from rsir_scale.runs.dedupe import write_ids
from rsir_scale.runs.lease import Lease
from rsir_scale.runs.lineage import (
    Omitted,
    SequenceFile,
    committed_files,
    load,
    load_first_targets,
    load_slices,
    read_columns,
    read_ids,
    training_files,
)
from rsir_scale.runs.plan import read_plan
from rsir_scale.storage.opening import open_store
from tests.runs.world import USERS, ZERO, commit_shards, dataset, generate, planned, rows_of, run_in, table


def test_first_iteration_reads_the_dataset_alone(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    files = training_files(run_in(store), 0)
    assert {file.where for file in files} == {"dataset"}
    assert not any("heldout" in file.key for file in files)
    loaded, expected = load(run_in(store), files), dataset().training_sequences()
    np.testing.assert_array_equal(loaded.ids, expected.ids)
    np.testing.assert_array_equal(loaded.items, expected.items)
    assert loaded.ids.max() < USERS


def test_later_iterations_add_kept_rows_in_shard_order(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with Lease(store) as lease:
        manifest = generate(store, lease)
    files = training_files(run_in(store), 1)
    assert [file.key for file in files if file.where == "run"] == [file.key for file in committed_files(store, 0)]
    loaded = load(run_in(store), files)
    plan = read_plan(store, 0)
    (omitted,) = committed_files(store, 0)[0].without
    dropped = set(read_ids(store, omitted.key).tolist())
    written = [row for shard in plan.shards for row in rows_of(plan, shard)]
    kept = [row for row in written if row[0] not in dropped]
    assert dropped
    assert manifest.generation is not None
    assert (manifest.generation.rows, manifest.generation.dropped) == (len(kept), len(dropped))
    assert loaded.ids[USERS:].tolist() == [row[0] for row in kept]
    assert [loaded.row(USERS + i).tolist() for i in range(len(kept))] == [list(row[3]) for row in kept]


def test_shards_of_a_later_plan_are_what_loading_everything_gives(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with Lease(store) as lease:
        generate(store, lease)
    plan = planned(store, 1)
    assert plan.first_sequence_id == read_plan(store, 0).next_sequence_id
    pieces = [load_slices(run_in(store), plan.files, shard.slices) for shard in plan.shards]
    whole = load(run_in(store), plan.files)
    np.testing.assert_array_equal(np.concatenate([piece.ids for piece in pieces]), whole.ids)
    np.testing.assert_array_equal(np.concatenate([piece.items for piece in pieces]), whole.items)
    assert all(len(piece) <= shard.rows for piece, shard in zip(pieces, plan.shards, strict=True))


def test_real_sources_only(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with Lease(store) as lease:
        generate(store, lease)
    plan = planned(store, 1, sources="real")
    assert plan.rows == USERS


def test_an_iteration_without_manifest_is_no_training_data(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    plan = planned(store)
    commit_shards(store, plan, "a", plan.shards)
    with pytest.raises(IntegrityError, match="MANIFEST"):
        training_files(run_in(store), 1)


@settings(max_examples=15)
@given(st.lists(st.tuples(st.integers(1, 4), st.booleans()), max_size=8))
def test_first_targets_come_in_the_order_of_the_sequences_and_dropped_rows_have_none(
    tmp_path_factory: pytest.TempPathFactory, drawn: list[tuple[int, bool]]
) -> None:
    store = open_store(tmp_path_factory.mktemp("run"))
    rows = [(100 + number, 0, number, (1, 2, 3, 4, 5)) for number in range(len(drawn))]
    targets = [target for target, _ in drawn]
    part = write_part(store, iteration=0, shard=0, attempt="a", table=table(rows, first_targets=targets))
    ids = np.array([100 + number for number, (_, dropped) in enumerate(drawn) if dropped], dtype=np.int64)
    entry = write_ids(store, layout.dropped(0, "a"), "dropped", ids)
    without = (Omitted(key=entry.key, sha256=entry.sha256),)
    written = SequenceFile(where="run", key=part.key, rows=len(rows), sha256=part.sha256, without=without)
    files = [*training_files(run_in(store), 0), written]
    found, kept = load_first_targets(run_in(store), files), [target for target, dropped in drawn if not dropped]
    if all(target == 1 for target in kept):
        assert found is None
    else:
        assert found is not None
        assert found.tolist() == [1] * USERS + kept
        assert len(found) == len(load(run_in(store), files))


@given(st.lists(st.integers(0, 7), max_size=5), st.data())
def test_row_groups_outside_a_slice_are_not_read(groups: list[int], data: st.DataObject) -> None:
    total = sum(groups)
    first = data.draw(st.integers(0, total))
    count = data.draw(st.integers(0, total - first))
    store = open_store(Path(dataset().path).parent / "slices")
    buffer = pa.BufferOutputStream()
    with pq.ParquetWriter(buffer, pa.schema([("n", pa.int64())])) as writer:
        row = 0
        for size in groups:
            writer.write_table(pa.table({"n": pa.array(range(row, row + size), pa.int64())}))
            row += size
    store.put("file", buffer.getvalue().to_pybytes())
    found = read_columns(store, "file", ["n"], rows=(first, count), expected=total)
    assert found.column(0).to_pylist() == list(range(first, first + count))


def test_damaged_files_are_named(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    file = SequenceFile(where="run", key=layout.part(0, 0, "a"), rows=3, sha256=ZERO)
    with pytest.raises(IntegrityError, match="part-00000"):
        load(run_in(store), [file])
    store.put(file.key, b"PAR1 and then nothing")
    with pytest.raises(IntegrityError, match="cannot be read as Parquet"):
        load(run_in(store), [file])
    buffer = pa.BufferOutputStream()
    pq.write_table(pa.table({"sequence_id": [1], "items": [[1]]}), buffer)
    store.put(file.key, buffer.getvalue().to_pybytes())
    with pytest.raises(IntegrityError, match="holds 1 rows, its record says 3"):
        load(run_in(store), [file])
    with pytest.raises(IntegrityError, match="no column 'trial'"):
        read_columns(store, file.key, ["trial"])
