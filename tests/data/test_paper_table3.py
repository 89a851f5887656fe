"""The paper's Table 3, to the digit, from the published sequences of its four datasets."""

import os
from pathlib import Path

import pytest

from rsir_scale.data.dataset import stats
from rsir_scale.data.prepare import prepare
from tests.data.logs import read

FOLDER = Path(os.environ.get("RSIR_DATA_DIR") or Path(__file__).parents[3] / "shared" / "data")


@pytest.mark.parametrize(
    ("name", "users", "items", "training_pairs", "training_items"),
    [
        ("Toys_and_Games", 19_412, 11_924, 106_254, 11_876),
        ("Beauty", 22_363, 12_101, 127_598, 12_066),
        ("Sports_and_Outdoors", 35_598, 18_357, 187_694, 18_281),
        ("Yelp", 30_431, 20_033, 216_733, 20_014),
    ],
)
def test_import_gives_the_figures_of_table_3(
    tmp_path: Path, name: str, users: int, items: int, training_pairs: int, training_items: int
) -> None:
    source = FOLDER / f"{name}.txt"
    if not source.is_file():
        pytest.skip(f"{source.name} is not in {FOLDER}: set RSIR_DATA_DIR to the folder of the paper's four datasets")
    prepare(read("sequences", source).frame, tmp_path / name)
    found = stats(tmp_path / name)
    assert (found["users"], found["items"]) == (users, items)
    assert (found["training_pairs"], found["training_items"]) == (training_pairs, training_items)
