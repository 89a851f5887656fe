from pathlib import Path

import pytest

from rsir_scale.errors import ResumableError
from rsir_scale.storage.opening import open_store
from rsir_scale.studies.folder import read_study
from rsir_scale.studies.schedule import run_study
from rsir_scale.studies.status import study_status
from tests.studies.test_order import digests
from tests.studies.world import FEW_ARMS, finished_study, study_file

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("cluster")]


def test_cells_on_ray_are_those_of_one_process_also_when_a_worker_dies(tmp_path: Path, order: Path) -> None:
    file, out = study_file(seeds=[0], **FEW_ARMS), str(tmp_path / "study")
    (order / "die-once").write_text("iteration=001/training/state")
    with pytest.raises(ResumableError, match=r"2 cells .* failed"):
        run_study(file, out, again="the same call", workers=2)
    study = read_study(open_store(out))
    assert study_status(study)["cells"] == {"done": 1, "running": 0, "stopped": 0, "failed": 2, "to do": 0}
    run_study(file, out, again="the same call", workers=2)
    assert digests(study, (0,)).items() <= digests(finished_study(), (0,)).items()
