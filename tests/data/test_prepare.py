import os
import tempfile
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rsir_scale.data.dataset import PreparedDataset, open_dataset
from rsir_scale.data.prepare import prepare
from rsir_scale.data.writer import writing
from rsir_scale.errors import InputError, StorageFullError
from rsir_scale.randomness import content_hashes
from tests.data.logs import Interaction, as_log, interactions, naive_prepare, read

few = settings(max_examples=25, deadline=None)


def wholes(dataset: PreparedDataset) -> dict[str, list[str]]:
    """Each user's training items followed by the held-out ones, in the log's own ids."""
    training, held_out, items = dataset.training_sequences(), dataset.held_out(), dataset.item_ids()
    found = {}
    for row, user in enumerate(dataset.user_ids()):
        assert training.ids[row] == held_out.ids[row] == row
        own = [*training.row(row), held_out.validation[row], held_out.test[row]]
        found[user] = [items[item - 1] for item in own if item]
    return found


@few
@given(interactions(), st.integers(0, 4), st.integers(3, 8), st.booleans(), st.integers(1, 30))
def test_prepare_agrees_with_the_obvious_preparation(
    rows: list[Interaction], min_count: int, max_length: int, with_times: bool, bucket: int
) -> None:
    expected = naive_prepare(rows, min_count=min_count, max_length=max_length, with_times=with_times)
    with tempfile.TemporaryDirectory() as folder:
        arguments = {"min_count": min_count, "max_length": max_length, "bucket_interactions": bucket}
        if not expected.users:
            with pytest.raises(InputError, match="below the k-core"):
                prepare(as_log(rows, with_times=with_times), Path(folder) / "out", **arguments)
            assert list(Path(folder).iterdir()) == []
            return
        prepare(as_log(rows, with_times=with_times), Path(folder) / "out", **arguments)
        dataset = open_dataset(Path(folder) / "out")
        assert dataset.user_ids().tolist() == expected.users
        assert dataset.item_ids().tolist() == expected.items
        assert wholes(dataset) == {user: [row[1] for row in own] for user, own in expected.sequences.items()}
        assert dataset.meta.has_times == with_times
        if with_times:
            assert all_times(dataset) == [row[2] for user in expected.users for row in expected.sequences[user]]


def all_times(dataset: PreparedDataset) -> list[float]:
    training = dataset.training_sequences()
    lists = [pq.read_table(f"{dataset.path}/{file.path}").column("times") for file in dataset.training_files()]
    times = [time for column in lists for own in column.to_pylist() for time in own]
    validation, test = dataset.held_out_times()
    found: list[float] = []
    for row in range(len(training)):
        own = [*times[training.offsets[row] : training.offsets[row + 1]], validation[row], test[row]]
        found += [time for time in own if not np.isnan(time)]
    return found


def test_an_item_that_the_core_drops_leaves_its_users_sequences(tmp_path: Path) -> None:
    rows = [(f"u{user}", f"i{item}", float(item)) for user in range(6) for item in range(6)]
    prepare(as_log([("u0", "rare", 2.5), *rows]), tmp_path / "out", min_count=5)
    assert wholes(open_dataset(tmp_path / "out")) == {
        f"u{user}": [f"i{item}" for item in range(6)] for user in range(6)
    }


@few
@given(interactions(), st.integers(1, 20))
def test_fingerprint_does_not_depend_on_how_files_are_split(rows: list[Interaction], bucket: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        one = prepare(as_log(rows), Path(folder) / "one", min_count=0)
        many = prepare(as_log(rows), Path(folder) / "many", min_count=0, bucket_interactions=bucket)
    assert one.fingerprint == many.fingerprint
    assert one.model_dump(exclude={"files"}) == many.model_dump(exclude={"files"})


@few
@given(interactions(), st.data())
def test_fingerprint_changes_with_any_item(rows: list[Interaction], data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(rows) - 1))
    user, item, time = rows[at]
    changed = [*rows[:at], (user, item + "x", time), *rows[at + 1 :]]
    with tempfile.TemporaryDirectory() as folder:
        before = prepare(as_log(rows), Path(folder) / "before", min_count=0)
        after = prepare(as_log(changed), Path(folder) / "after", min_count=0)
    assert before.fingerprint != after.fingerprint


@few
@given(interactions())
def test_facts_are_those_of_the_sequences(rows: list[Interaction]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        meta = prepare(as_log(rows), Path(folder) / "out", min_count=0, max_length=4)
        dataset = open_dataset(Path(folder) / "out")
        training = dataset.training_sequences()
        lengths = [len(own) for own in wholes(dataset).values()]
    assert meta.interactions == sum(lengths)
    assert (meta.min_length, meta.max_length) == (min(lengths), max(lengths))
    assert meta.mean_length == pytest.approx(sum(lengths) / len(lengths))
    assert meta.training_pairs == sum(int(length) - 1 for length in training.lengths)
    assert meta.training_items == len(set(training.items.tolist()))
    assert meta.density == pytest.approx(meta.training_pairs / (meta.users * meta.items))


def test_ties_in_time_keep_the_order_of_the_file(tmp_path: Path) -> None:
    rows = [("u", item, 5.0) for item in "dacb"] + [("u", "e", 1.0)]
    prepare(as_log(rows), tmp_path / "out", min_count=0)
    assert wholes(open_dataset(tmp_path / "out")) == {"u": ["e", "d", "a", "c", "b"]}


def test_exact_duplicates_stay_unless_asked_to_go(tmp_path: Path) -> None:
    rows = [("u", "a", 1.0), ("u", "b", 2.0), ("u", "a", 1.0), ("u", "a", 3.0)]
    prepare(as_log(rows), tmp_path / "all", min_count=0)
    prepare(as_log(rows), tmp_path / "distinct", min_count=0, duplicates="exact")
    assert wholes(open_dataset(tmp_path / "all")) == {"u": ["a", "a", "b", "a"]}
    assert wholes(open_dataset(tmp_path / "distinct")) == {"u": ["a", "b", "a"]}


def test_duplicates_go_before_the_k_core_counts(tmp_path: Path) -> None:
    rows = [("u", "a", 1.0)] * 5
    with pytest.raises(InputError, match="every user is below the k-core"):
        prepare(as_log(rows), tmp_path / "out", duplicates="exact")


def test_catalogue_holds_items_that_only_truncation_or_holding_out_removed(tmp_path: Path) -> None:
    meta = prepare(as_log([("u", item, 0.0) for item in "abcdef"]), tmp_path / "out", min_count=0, max_length=4)
    assert (meta.items, meta.training_items, meta.interactions) == (6, 2, 4)


def test_repeats_are_counted_in_training_only(tmp_path: Path) -> None:
    meta = prepare(as_log([("u", item, 0.0) for item in "ababbcc"]), tmp_path / "out", min_count=0)
    assert meta.repeat_share == pytest.approx(3 / 5)


def test_training_files_carry_the_hash_of_their_items(tmp_path: Path) -> None:
    prepare(as_log([("u", item, 0.0) for item in "abcdef"]), tmp_path / "out", min_count=0)
    dataset = open_dataset(tmp_path / "out")
    training = dataset.training_sequences()
    table = pq.read_table(f"{dataset.path}/{dataset.training_files()[0].path}")
    assert table.column("content_hash").to_pylist() == [
        hashed.tobytes() for hashed in content_hashes(training.offsets, training.items)
    ]


def test_held_out_items_lie_in_no_training_file(tmp_path: Path) -> None:
    rows = [(f"u{user}", f"{user}-{step}", float(step)) for user in range(5) for step in range(4)]
    prepare(as_log(rows), tmp_path / "out", min_count=0, bucket_interactions=4)
    dataset = open_dataset(tmp_path / "out")
    stored = set()
    for file in dataset.training_files():
        table = pq.read_table(f"{dataset.path}/{file.path}")
        assert table.column_names == ["sequence_id", "items", "times", "content_hash"]
        stored |= {item for items in table.column("items").to_pylist() for item in items}
    held_out = dataset.held_out()
    assert not stored & (set(held_out.validation.tolist()) | set(held_out.test.tolist()))


def test_an_existing_output_is_refused_and_left_alone(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("keep")
    with pytest.raises(InputError, match="already exists"):
        prepare(as_log([("u", "a", 0.0)]), out, min_count=0)
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "mine.txt"]


def test_an_empty_folder_becomes_a_dataset_with_the_last_thing_moved_into_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved: list[str] = []
    rename = os.rename
    monkeypatch.setattr(
        "rsir_scale.data.writer.os.rename", lambda old, new: (moved.append(Path(new).name), rename(old, new))
    )
    (tmp_path / "out").mkdir()
    prepare(as_log([("u", item, 0.0) for item in "abc"]), tmp_path / "out", min_count=0)
    assert sorted(moved) == sorted(path.name for path in (tmp_path / "out").iterdir())
    assert moved[-1] == "dataset.json"


def test_a_failure_midway_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object, **settings: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("rsir_scale.data.writer.pq.write_table", full)
    with pytest.raises(StorageFullError, match="free space"):
        prepare(as_log([("u", "a", 0.0)]), tmp_path / "new" / "deep" / "out", min_count=0)
    assert list(tmp_path.iterdir()) == []
    # On the way to an object store, where the disk that is full is the one for temporary files.
    monkeypatch.setattr("rsir_scale.data.writer.refuse_existing", lambda out: None)
    with (
        pytest.raises(StorageFullError, match="the folder for temporary files is full"),
        writing("s3://bucket/out") as folder,
    ):
        full(folder)


def test_an_unwritable_place_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="--out"):
        prepare(as_log([("u", "a", 0.0)]), tmp_path / "file" / "out", min_count=0)


@pytest.mark.parametrize(
    ("settings_", "message"),
    [({"min_count": -1}, "min_count=-1"), ({"max_length": 2}, "max_length=2")],
)
def test_settings_out_of_range_are_refused(tmp_path: Path, settings_: dict[str, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        prepare(as_log([("u", "a", 0.0)]), tmp_path / "out", **settings_)


def test_a_log_with_times_here_and_there_is_refused(tmp_path: Path) -> None:
    log = as_log([("u", "a", 0.0), ("u", "b", 1.0)]).with_columns(
        pl.when(pl.col("order") == 0).then(None).otherwise(pl.col("time")).alias("time")
    )
    with pytest.raises(InputError, match="1 of 2 interactions have no time"):
        prepare(log, tmp_path / "out", min_count=0)


def test_a_k_core_leaves_a_file_that_is_one_already_unchanged(tmp_path: Path) -> None:
    source = tmp_path / "log.txt"
    source.write_text("".join(f"{user} 1 2 3 4 5\n" for user in range(1, 6)))
    prepare(read("sequences", source).frame, tmp_path / "out")
    assert wholes(open_dataset(tmp_path / "out")) == {str(user): list("12345") for user in range(1, 6)}
