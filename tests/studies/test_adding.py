from pathlib import Path

import pytest

from rsir_scale.errors import ConfigError, InputError, IntegrityError
from rsir_scale.runs.begun import read_config
from rsir_scale.runs.run import Run
from rsir_scale.runs.status import read_status
from rsir_scale.storage.opening import open_store
from rsir_scale.studies.adding import add_cells
from rsir_scale.studies.folder import Study, read_study
from rsir_scale.studies.order import InProcess, bring_to_end
from rsir_scale.verification.verify import verify
from tests.loop.tiny_run import tiny_dataset
from tests.studies.test_order import cell_named
from tests.studies.world import SEEDS, begin, copy_of_study, finished_study, study_file


def fresh(folder: Path) -> Study:
    return begin(folder, study_file(seeds=[1]))


def test_another_machine_s_cells_are_those_that_were_made_there(tmp_path: Path) -> None:
    study = fresh(tmp_path / "study")
    assert add_cells(study, finished_study()) == (12, 0)
    assert study.seeds() == SEEDS
    for name in ("rsir", "longer-of-shuffled"):
        store = study.run_store(cell_named(study, name))
        theirs = read_status(finished_study().run_store(cell_named(study, name)))
        assert read_status(store) | {"run": ""} == theirs | {"run": ""}
        assert verify(Run(store, tiny_dataset(), read_config(store))).ok
    bring_to_end(study, SEEDS, InProcess(study.store.root))
    assert add_cells(study, finished_study()) == (0, 12)


def test_the_cells_of_another_study_are_refused(tmp_path: Path) -> None:
    study = begin(tmp_path / "study", study_file(metric="Recall@10"))
    with pytest.raises(ConfigError, match=r"is another study \(metric: \"Recall@10\" → \"NDCG@10\"\)"):
        add_cells(study, finished_study())


def test_a_damaged_cell_is_refused_and_added_once_it_is_restored(tmp_path: Path) -> None:
    study, other = fresh(tmp_path / "study"), copy_of_study(tmp_path / "other")
    part = next(Path(other.run_store(cell_named(other, "rsir")).root).glob("iteration=000/generation/data/*.parquet"))
    whole = part.read_bytes()
    part.write_bytes(whole[:-1])
    with pytest.raises(IntegrityError, match=r"part-00000.*its record says"):
        add_cells(study, other)
    part.write_bytes(whole)
    add_cells(study, other)
    assert all(study.is_done(cell) for cell in study.cells())


def test_a_folder_without_a_study_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no study\.json"):
        read_study(open_store(tmp_path))
