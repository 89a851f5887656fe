import shutil
from pathlib import Path

import pytest

from rsir_scale.errors import IntegrityError, LeaseHeldError, ResumableError, RsirError
from rsir_scale.runs import layout
from rsir_scale.runs.begun import read_config
from rsir_scale.runs.run import Run
from rsir_scale.runs.status import read_status
from rsir_scale.storage.opening import open_store
from rsir_scale.studies import order
from rsir_scale.studies.cells import Cell
from rsir_scale.studies.folder import Study
from rsir_scale.studies.making import Job
from rsir_scale.studies.order import Ended, InProcess, bring_to_end
from rsir_scale.studies.spent import updates_spent
from rsir_scale.verification.verify import verify
from tests.loop.tiny_run import tiny_dataset
from tests.studies.world import FEW_ARMS, SEEDS, begin, copy_of_study, finished_study, study_file

ONE_SEED = (0,)


class Failing(InProcess):
    """Cells of one name stop with an error, as often as told."""

    def __init__(self, root: str, name: str, error: RsirError, times: int = 1000) -> None:
        super().__init__(root)
        self.name, self.error, self.left = name, error, times
        self.started: list[str] = []
        self.bases: list[str | None] = []

    def start(self, job: Job) -> None:
        self.started.append(job.cell.name)
        self.bases.append(job.base_of)
        if job.cell.name == self.name and self.left:
            self.left -= 1
            self._over.append(Ended(job, self.error))
        else:
            super().start(job)


def cell_named(study: Study, name: str, seed: int = 0) -> Cell:
    return next(cell for cell in study.cells() if (cell.name, cell.seed) == (name, seed))


def digests(study: Study, seeds: tuple[int, ...]) -> dict[str, object]:
    """What counts of each cell: what it wrote, and its metrics."""
    found = {}
    for cell in study.cells():
        if cell.seed in seeds:
            status = read_status(study.run_store(cell))
            found[cell.key] = status["digest"], [entry["metrics"] for entry in status["iterations"]]
    return found


@pytest.mark.parametrize("name", ["base", "rsir", "longer-of-rsir"])
def test_a_cell_is_a_run_that_verifies(name: str) -> None:
    study = finished_study()
    store = study.run_store(cell_named(study, name))
    assert verify(Run(store, tiny_dataset(), read_config(store))).ok


def test_arms_have_the_base_s_first_iteration_byte_for_byte() -> None:
    study = finished_study()
    base, arm = (study.run_store(cell_named(study, name)) for name in ("base", "rsir"))
    kept = [key for key in base.list(layout.folder(0)) if not key.endswith("MANIFEST.json")]
    assert {Path(key).name.partition(".")[0] for key in kept} == {"weights-00000", "model", "metrics", "ranks"}
    assert all(arm.read(key) == base.read(key) for key in kept)


def test_longer_training_has_at_least_the_updates_of_its_arm_and_less_than_a_pass_more() -> None:
    study = finished_study()
    for seed in SEEDS:
        arm, longer = (
            sum(updates_spent(study.run_store(cell_named(study, name, seed)))) for name in ("rsir", "longer-of-rsir")
        )
        assert arm <= longer < arm + 4  # 60 sequences, 16 an update


def test_a_finished_study_starts_nothing() -> None:
    study = finished_study()
    bring_to_end(study, SEEDS, Failing(study.store.root, "base", ResumableError("must not start")))


def test_an_interrupted_study_goes_on_to_the_same_cells(tmp_path: Path) -> None:
    study = begin(tmp_path / "study", study_file(**FEW_ARMS))
    for name in ("base", "rsir"):
        with pytest.raises(ResumableError):
            bring_to_end(study, ONE_SEED, Failing(study.store.root, name, ResumableError("killed")))
    bring_to_end(study, ONE_SEED, InProcess(study.store.root))
    assert digests(study, ONE_SEED).items() <= digests(finished_study(), ONE_SEED).items()
    assert not list(study.store.list("failed"))


def test_longer_training_of_equal_length_is_shared_also_with_a_cell_that_was_done_before(tmp_path: Path) -> None:
    study = copy_of_study(tmp_path / "study")
    shutil.rmtree(study.run_store(cell_named(study, "longer-of-shuffled")).root)
    runner = Failing(study.store.root, "nothing", ResumableError("never"))
    bring_to_end(study, SEEDS, runner)
    assert (runner.started, runner.bases) == (["longer-of-shuffled"], ["cells/market/0/longer-of-rsir"])


def test_a_cell_that_fails_stops_only_what_needs_it_and_keeps_its_reason(tmp_path: Path) -> None:
    study = begin(tmp_path / "study", study_file())
    with pytest.raises(ResumableError, match=r"2 cells .* failed(.|\n)*cells/market/0/rsir: ResumableError: no room"):
        bring_to_end(study, ONE_SEED, Failing(study.store.root, "rsir", ResumableError("no room")))
    states = {cell.name: study.is_done(cell) for cell in study.cells() if cell.seed == 0}
    assert states == {
        "base": True,
        "rsir": False,
        "shuffled": True,
        "aa": True,
        "longer-of-rsir": False,
        "longer-of-shuffled": True,
    }
    failure = study.failure(cell_named(study, "longer-of-rsir"))
    assert failure is not None
    assert "needs cells/market/0/rsir" in failure.reason


def test_arms_of_a_base_that_failed_are_not_tried(tmp_path: Path) -> None:
    study = begin(tmp_path / "study", study_file())
    runner = Failing(study.store.root, "base", IntegrityError("a broken file"))
    with pytest.raises(IntegrityError, match="a broken file"):
        bring_to_end(study, ONE_SEED, runner)
    assert runner.started == ["base", "aa"]


def test_a_cell_that_another_driver_holds_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(order, "_TRIED_AGAIN_S", 0.01)
    study = begin(tmp_path / "study", study_file(arms={"rsir": {}}, without_controls="only the order matters here"))
    runner = Failing(study.store.root, "rsir", LeaseHeldError("held elsewhere"), times=2)
    bring_to_end(study, ONE_SEED, runner)
    assert runner.started == ["base", "rsir", "rsir", "rsir"]


def test_a_cell_that_is_held_for_ever_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(order, "_TRIED_AGAIN_S", 0.01)
    monkeypatch.setattr(order, "_HELD_S", 0.05)
    study = begin(tmp_path / "study", study_file(arms={"rsir": {}}, without_controls="only the order matters here"))
    with pytest.raises(ResumableError, match="held elsewhere"):
        bring_to_end(study, ONE_SEED, Failing(study.store.root, "base", LeaseHeldError("held elsewhere")))


def test_a_base_with_a_changed_byte_is_not_taken_over(tmp_path: Path) -> None:
    study = begin(tmp_path / "study", study_file(**FEW_ARMS))
    with pytest.raises(ResumableError):
        bring_to_end(study, ONE_SEED, Failing(study.store.root, "rsir", ResumableError("wait")))
    base = Path(study.run_store(cell_named(study, "base")).root)
    weights = next(base.glob("iteration=000/model/weights*"))
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(IntegrityError, match="its record says"):
        bring_to_end(study, ONE_SEED, InProcess(study.store.root))
    assert not open_store(f"{study.store.root}/cells/market/0/rsir").exists(layout.model(0))
