from pathlib import Path

import pytest

from rsir_scale.errors import ResumableError
from rsir_scale.runs.lease import Lease
from rsir_scale.studies.order import bring_to_end
from rsir_scale.studies.status import study_status
from tests.studies.test_order import Failing, cell_named
from tests.studies.world import FEW_ARMS, begin, finished_study, study_file


def test_a_finished_study_is_done_and_has_nothing_left() -> None:
    status = study_status(finished_study())
    assert (status["state"], status["cells"]["done"], status["cell_seconds_left"]) == ("done", 12, 0)


def test_a_new_study_has_all_to_do_and_no_estimate(tmp_path: Path) -> None:
    status = study_status(begin(tmp_path, study_file()))
    assert (status["state"], status["cells"]["to do"], status["cell_seconds_left"]) == ("stopped", 12, None)


def test_failed_cells_are_told_with_their_reason_and_running_ones_by_their_lease(tmp_path: Path) -> None:
    study = begin(tmp_path, study_file(seeds=[0], **FEW_ARMS))
    with pytest.raises(ResumableError):
        bring_to_end(study, (0,), Failing(study.store.root, "rsir", ResumableError("no room")))
    with Lease(study.run_store(cell_named(study, "longer-of-rsir"))):
        rows = {row["cell"]: row for row in study_status(study)["rows"]}
    assert rows["market/0/rsir"]["state"] == "failed"
    assert rows["market/0/rsir"]["reason"] == "ResumableError: no room"
    assert rows["market/0/base"]["state"] == "done"
    assert study_status(study)["cell_seconds_left"] > 0
