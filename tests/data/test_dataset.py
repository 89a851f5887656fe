import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from rsir_scale.data.dataset import open_dataset, stats
from rsir_scale.data.prepare import prepare
from rsir_scale.errors import InputError
from tests.data.logs import as_log


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    rows = [(f"u{user}", str(step), float(step)) for user in range(6) for step in range(5)]
    prepare(as_log(rows), tmp_path / "data", min_count=0, bucket_interactions=10)
    return tmp_path / "data"


def test_stats_has_the_keys_that_scripts_rely_on(prepared: Path) -> None:
    facts = stats(prepared)
    promised = "users items interactions training_pairs training_items density min_length mean_length max_length"
    assert set(promised.split()) | {"fingerprint"} <= set(facts)
    assert json.loads(json.dumps(facts)) == facts


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a folder"):
        open_dataset(tmp_path / "absent")


def test_a_folder_that_is_no_dataset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no dataset\.json"):
        open_dataset(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", "7", "{}", '{"format_version": 99}', '{"format_version": 1}'])
def test_a_foreign_or_broken_description_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "dataset.json").write_text(text)
    with pytest.raises(InputError, match=r"dataset\.json"):
        open_dataset(tmp_path)


def test_a_missing_file_is_refused_by_name(prepared: Path) -> None:
    (prepared / "heldout" / "part-00001.parquet").unlink()
    with pytest.raises(InputError, match=r"lacks 'heldout/part-00001\.parquet'"):
        open_dataset(prepared)


def test_a_file_that_was_exchanged_is_refused(prepared: Path) -> None:
    train, heldout = prepared / "train" / "part-00000.parquet", prepared / "heldout" / "part-00000.parquet"
    pq.write_table(pq.read_table(train).slice(1), train)
    heldout.write_bytes(train.read_bytes())
    with pytest.raises(InputError, match="holds 1 rows"):
        open_dataset(prepared).training_sequences()
    with pytest.raises(InputError, match="has no column 'validation_item'"):
        open_dataset(prepared).held_out()


def test_a_truncated_file_is_an_input_error(prepared: Path) -> None:
    file = prepared / "train" / "part-00000.parquet"
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(InputError, match="cannot be read as Parquet"):
        open_dataset(prepared).training_sequences()


def test_times_are_refused_where_the_log_had_none(tmp_path: Path) -> None:
    prepare(as_log([("u", "a", 0.0)], with_times=False), tmp_path / "data", min_count=0)
    with pytest.raises(InputError, match="has no times"):
        open_dataset(tmp_path / "data").held_out_times()


def test_a_user_without_held_out_items_has_item_0_and_no_time(tmp_path: Path) -> None:
    prepare(as_log([("u", "a", 1.0), ("u", "b", 2.0)]), tmp_path / "data", min_count=0)
    opened = open_dataset(tmp_path / "data")
    assert (opened.held_out().validation.tolist(), opened.held_out().test.tolist()) == ([0], [0])
    assert all(np.isnan(times).all() for times in opened.held_out_times())


def test_training_files_in_their_order_are_the_training_sequences(prepared: Path) -> None:
    opened = open_dataset(prepared)
    assert len(opened.training_files()) == 3
    tables = [pq.read_table(prepared / file.path, columns=["sequence_id"]) for file in opened.training_files()]
    assert [row for table in tables for row in table.column(0).to_pylist()] == list(range(6))
    assert opened.training_sequences().ids.tolist() == list(range(6))
