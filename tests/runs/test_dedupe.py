"""Duplicates: what stays does not depend on shards, attempts, order or memory."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from rsir_scale.config.settings import GenerationConfig
from rsir_scale.runs import layout
from rsir_scale.runs.commits import write_part
from rsir_scale.runs.dedupe import duplicate_ids, repeats_dropped, write_ids
from rsir_scale.runs.lineage import Omitted, SequenceFile, read_ids, training_files
from rsir_scale.runs.records import FileEntry
from rsir_scale.storage.base import Store
from rsir_scale.storage.opening import open_store
from tests.runs.world import Row, dataset, run_in, table

FEW_CONTENTS = st.lists(st.integers(1, 2), min_size=1, max_size=3).map(tuple)


@st.composite
def parts(draw: st.DrawFn) -> list[list[Row]]:
    """Rows with unique ids and (source, trial), in any order, over a few shards; contents collide often."""
    keys = draw(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3)), unique=True, max_size=24))
    ids = draw(st.permutations(range(100, 100 + len(keys))))
    rows = [(ids[i], source, trial, draw(FEW_CONTENTS)) for i, (source, trial) in enumerate(keys)]
    shards: list[list[Row]] = [[], [], []]
    for row in rows:
        shards[draw(st.integers(0, 2))].append(row)
    return shards


def _naive(rows: list[Row], existing: set[tuple[int, ...]]) -> list[int]:
    best: dict[tuple[int, ...], Row] = {}
    for row in sorted(rows, key=lambda row: row[1:3]):
        best.setdefault(row[3], row)
    return sorted(row[0] for row in rows if row[3] in existing or best[row[3]] != row)


def _write(store: Store, shards: list[list[Row]], iteration: int = 0) -> list[FileEntry]:
    return [
        write_part(store, iteration=iteration, shard=number, attempt="a", table=table(rows))
        for number, rows in enumerate(shards)
    ]


@settings(max_examples=40)
@given(shards=parts(), bucket_rows=st.integers(1, 30), earlier=parts())
def test_smallest_source_and_trial_stays_as_a_plain_loop_says(
    shards: list[list[Row]], bucket_rows: int, earlier: list[list[Row]]
) -> None:
    with TemporaryDirectory() as folder:
        store = open_store(folder)
        rows = [row for shard in shards for row in shard]
        new = _write(store, shards)
        found = duplicate_ids(run_in(store), iteration=0, parts=new, bucket_rows=bucket_rows)
        assert found.tolist() == _naive(rows, set())

        old_parts = _write(store, earlier, iteration=7)
        gone = duplicate_ids(run_in(store), iteration=7, parts=old_parts)
        old_dropped = write_ids(store, layout.dropped(7, "a"), "dropped", gone)
        existing = [
            SequenceFile(
                where="run",
                key=part.key,
                rows=part.rows or 0,
                sha256=part.sha256,
                without=(Omitted(key=old_dropped.key, sha256=old_dropped.sha256),),
            )
            for part in old_parts
        ]
        found = duplicate_ids(run_in(store), iteration=0, parts=new, existing=existing, bucket_rows=bucket_rows)
        contents = {row[3] for shard in earlier for row in shard}
        assert found.tolist() == _naive(rows, contents)


def test_row_that_repeats_a_real_sequence_is_dropped_only_if_asked(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    copied = tuple(dataset().training_sequences().row(4).tolist())
    part = write_part(store, iteration=0, shard=0, attempt="a", table=table([(50, 4, 0, copied), (51, 4, 1, (1, 2))]))
    assert duplicate_ids(run_in(store), iteration=0, parts=[part]).tolist() == []
    files = training_files(run_in(store), 0)
    assert duplicate_ids(run_in(store), iteration=0, parts=[part], existing=files).tolist() == [50]


@given(ids=st.lists(st.integers(0, 2**62), unique=True).map(sorted))
def test_written_ids_are_read_back_and_counted(ids: list[int]) -> None:
    with TemporaryDirectory() as folder:
        store = open_store(folder)
        entry = write_ids(store, layout.dropped(3, "a"), "dropped", np.array(ids, dtype=np.int64))
        assert (read_ids(store, entry.key).tolist(), entry.rows) == (ids, len(ids))


def test_only_the_papers_reading_drops_what_the_training_data_hold_already() -> None:
    assert repeats_dropped(GenerationConfig(reading="paper")) == "of_all"
    assert repeats_dropped(GenerationConfig(reading="released")) == "of_new"


def test_folder_with_a_pattern_in_its_name(tmp_path: Path) -> None:
    store = open_store(tmp_path / "run [a-z]*")
    part = write_part(store, iteration=0, shard=0, attempt="a", table=table([(1, 1, 0, (3,)), (2, 1, 1, (3,))]))
    assert duplicate_ids(run_in(store), iteration=0, parts=[part]).tolist() == [2]
