from pathlib import Path

import pytest

from rsir_scale.errors import ConfigError
from rsir_scale.loop.local import LocalPhases
from rsir_scale.loop.recursion import run_recursion
from rsir_scale.loop.stop import StoppedError
from rsir_scale.runs.open_run import open_run
from rsir_scale.runs.run import Run
from rsir_scale.storage.opening import open_store
from rsir_scale.studies import schedule
from rsir_scale.studies.folder import read_study
from rsir_scale.studies.schedule import run_study
from tests.studies.test_order import digests
from tests.studies.world import FEW_ARMS, finished_study, study_file


def driven_here(run: Run) -> None:
    """What `rsir run` does, in this process."""
    with open_run(run.store, run.config, run.dataset) as held:
        run_recursion(held, LocalPhases())


def test_large_cells_are_handed_to_the_driver_one_by_one_and_share_their_base(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedule, "drive", driven_here)
    file = study_file(seeds=[0], cell={"where": "ray"}, **FEW_ARMS)
    run_study(file, str(tmp_path / "study"), again="the same call")
    study = read_study(open_store(tmp_path / "study"))
    assert digests(study, (0,)).items() <= digests(finished_study(), (0,)).items()


def test_a_driver_that_is_told_to_stop_ends_the_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(run: Run) -> None:
        raise StoppedError("stopped by SIGTERM")

    monkeypatch.setattr(schedule, "drive", stopped)
    file = study_file(seeds=[0], cell={"where": "ray"}, **FEW_ARMS)
    with pytest.raises(StoppedError):
        run_study(file, str(tmp_path / "study"), again="the same call")
    assert not list(open_store(tmp_path / "study").list("failed"))


def test_more_processors_than_this_machine_has_are_refused_though_tickets_could_be_made(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cell\.cpus=4000"):
        run_study(study_file(cell={"cpus": 4000}), str(tmp_path / "study"), again="", workers=2)
    assert not (tmp_path / "study").exists()
