"""A study in a bucket has the cells of one on a disk, and they can be added to that."""

from pathlib import Path

import pytest

from rsir_scale.storage.opening import open_store
from rsir_scale.studies.adding import add_cells
from rsir_scale.studies.folder import begin_study, record_of
from rsir_scale.studies.order import InProcess, bring_to_end
from rsir_scale.studies.status import study_status
from tests.studies.test_order import digests
from tests.studies.world import FEW_ARMS, begin, finished_study, study_file


@pytest.mark.slow
def test_a_study_in_a_bucket_has_the_cells_of_one_on_a_disk(bucket: str, tmp_path: Path) -> None:
    file = study_file(seeds=[0], **FEW_ARMS)
    study = begin_study(open_store(f"{bucket}/study"), record_of(file), file.seeds)
    bring_to_end(study, file.seeds, InProcess(study.store.root))
    assert digests(study, (0,)).items() <= digests(finished_study(), (0,)).items()
    here = begin(tmp_path / "study", file)
    assert add_cells(here, study) == (3, 0)
    assert study_status(here)["state"] == "done"
