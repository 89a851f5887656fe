from pathlib import Path

import pytest

from rsir_scale.data.dataset import open_dataset
from rsir_scale.data.synthetic import synthesize
from rsir_scale.errors import InputError
from rsir_scale.loop.preflight import Node
from rsir_scale.studies.checks import check_study
from rsir_scale.studies.file import load_study_file
from rsir_scale.studies.start_file import start_file, write_start_file
from tests.loop.tiny_run import tiny_dataset


@pytest.mark.parametrize("items", [15, 400])
def test_a_first_study_file_can_be_run_on_its_dataset(tmp_path: Path, items: int) -> None:
    synthesize(users=40, items=items, out=tmp_path / "my data", seed=1)
    write_start_file(open_dataset(tmp_path / "my data"), tmp_path / "mine.yaml")
    file = load_study_file(tmp_path / "mine.yaml")
    check_study(file, (Node(cpus=1, gpus=0),))
    assert list(file.arms) == ["rsir", "reordered", "copies", "aa", "longer"]


def test_a_file_that_is_there_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("mine")
    with pytest.raises(InputError, match="is there already"):
        write_start_file(tiny_dataset(), tmp_path / "mine.yaml")
    assert (tmp_path / "mine.yaml").read_text() == "mine"


def test_a_catalogue_too_small_for_a_list_is_told(tmp_path: Path) -> None:
    synthesize(users=40, items=8, out=tmp_path / "data", seed=1)
    with pytest.raises(InputError, match="8 items, too few"):
        start_file(open_dataset(tmp_path / "data"), tmp_path / "mine.yaml")
