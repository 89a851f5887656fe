import shutil
from pathlib import Path

import pytest

from rsir_scale.errors import ConfigError, InputError, IntegrityError
from rsir_scale.storage.opening import open_store
from rsir_scale.studies.folder import STUDY, begin_study, read_study, record_of
from tests.loop.tiny_run import tiny_dataset
from tests.studies.world import ARMS, begin, study_file


def test_the_same_study_is_taken_up_and_more_seeds_stay(tmp_path: Path) -> None:
    begin(tmp_path / "study", study_file())
    study = begin(tmp_path / "study", study_file(seeds=[7], cell={"memory_gib": 1}))
    assert study.seeds() == (0, 1, 7)
    assert list(study.file.arms) == list(ARMS)


def test_another_study_is_refused_with_what_differs(tmp_path: Path) -> None:
    begin(tmp_path / "study", study_file())
    other = study_file(arms={**ARMS, "shuffled": {"generation.augmenter": "insertion"}})
    with pytest.raises(ConfigError, match=r"shuffled\.generation\.augmenter: \"reordering\" → \"insertion\""):
        begin(tmp_path / "study", other)


def test_a_folder_with_something_else_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="is not a study, and is not empty"):
        begin(tmp_path, study_file())
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_study_file_that_was_damaged_is_told(tmp_path: Path) -> None:
    begin(tmp_path, study_file())
    (tmp_path / STUDY).write_text("{}")
    with pytest.raises(IntegrityError, match=STUDY):
        read_study(open_store(tmp_path))


def test_seeds_and_paths_do_not_make_another_study() -> None:
    assert record_of(study_file(seeds=[5])).fingerprint == record_of(study_file()).fingerprint


def test_a_study_may_lie_in_a_new_folder_of_a_new_folder(tmp_path: Path) -> None:
    study = begin_study(open_store(tmp_path / "a" / "b"), record_of(study_file()), (3,))
    assert study.seeds() == (3,)


def test_a_dataset_may_move(tmp_path: Path) -> None:
    begin(tmp_path / "study", study_file())
    shutil.copytree(tiny_dataset().path, tmp_path / "moved")
    study = begin(tmp_path / "study", study_file(datasets={"market": str(tmp_path / "moved")}))
    assert study.file.datasets == {"market": str(tmp_path / "moved")}
