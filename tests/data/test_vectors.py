"""Item vectors are found by the log's own ids, and whatever is missing, doubled or no number is refused by name."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rsir_scale.data.vectors import read_item_vectors
from rsir_scale.errors import InputError

IDS = np.array(["b", "7", "a"], dtype=np.object_)


def _file(folder: Path, ids: list[Any], vectors: list[Any], *, kind: pa.DataType | None = None) -> Path:
    table = pa.table({"item_id": pa.array(ids), "vector": pa.array(vectors, kind or pa.list_(pa.float64()))})
    pq.write_table(table, folder / "vectors.parquet")
    return folder / "vectors.parquet"


@pytest.mark.parametrize("kind", [pa.list_(pa.float32()), pa.list_(pa.float32(), 2), pa.large_list(pa.float16())])
def test_vectors_come_in_the_order_of_the_dataset_whatever_the_files(tmp_path: Path, kind: pa.DataType) -> None:
    path = _file(tmp_path, ["a", "other", "7", "b"], [[1, 2], [9, 9], [3, 4], [5, 6]], kind=kind)
    found = read_item_vectors(path, IDS)
    assert found.dtype == np.float32
    assert found.tolist() == [[5, 6], [3, 4], [1, 2]]


def test_ids_that_are_numbers_are_matched_as_text(tmp_path: Path) -> None:
    path = _file(tmp_path, [7, 5], [[1.0], [2.0]])
    assert read_item_vectors(path, np.array(["5", "7"], dtype=np.object_)).tolist() == [[2.0], [1.0]]


@pytest.mark.parametrize(
    ("ids", "vectors", "said"),
    [
        (["a", "b"], [[1.0], [2.0]], r"no vector for 1 of 3 items .* first item_id '7'"),
        (["a", "b", "7", "a"], [[1.0]] * 4, "more than once"),
        (["a", "b", "7"], [[1.0], [2.0, 3.0], [4.0, 5.0]], r"item_id 'a' has 1 numbers, that of 'b' 2"),
        (["a", "b", "7"], [[1.0], [2.0], None], r"item_id '7' has 0 numbers"),
        (["a", "b", "7"], [[1.0], [float("nan")], [4.0]], r"item_id 'b' holds NaN"),
        (["a", "b", "7"], [[1.0], [1e20], [4.0]], r"item_id 'b' holds .*beyond 1e\+15"),
        (["a", "b", "7"], [[1.0], [None], [4.0]], r"item_id 'b' holds NaN"),
    ],
)
def test_faults_are_refused_by_name(tmp_path: Path, ids: list[str], vectors: list[Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        read_item_vectors(_file(tmp_path, ids, vectors), IDS)


def test_a_file_that_is_missing_or_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.parquet cannot be read"):
        read_item_vectors(tmp_path / "nowhere.parquet", IDS)
    (tmp_path / "text.parquet").write_text("item_id,vector\n")
    with pytest.raises(InputError, match=r"text\.parquet cannot be read"):
        read_item_vectors(tmp_path / "text.parquet", IDS)
    pq.write_table(pa.table({"item_id": ["a"]}), tmp_path / "half.parquet")
    with pytest.raises(InputError, match="'vector'"):
        read_item_vectors(tmp_path / "half.parquet", IDS)
    pq.write_table(pa.table({"item_id": ["a"], "vector": ["no list"]}), tmp_path / "flat.parquet")
    with pytest.raises(InputError, match="a list of numbers"):
        read_item_vectors(tmp_path / "flat.parquet", IDS)
