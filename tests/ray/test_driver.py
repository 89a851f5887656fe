import io
from pathlib import Path

import pytest
from ray._private.authentication.authentication_utils import is_token_auth_enabled

from rsir_scale.errors import ConfigError, LeaseHeldError, ResumableError, StorageFullError
from rsir_scale.loop import driver
from rsir_scale.loop.driver import drive
from rsir_scale.loop.line import ProgressLine
from rsir_scale.loop.local import LocalPhases
from rsir_scale.loop.preflight import Node
from rsir_scale.runs.lease import Lease
from rsir_scale.runs.status import read_status
from rsir_scale.storage.opening import open_store
from tests.ray.conftest import Make, asked, complete, finish

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("cluster")]


def test_a_run_on_ray_whose_actor_dies_commits_what_one_process_commits_and_leaves_nothing_of_ray_behind(
    settings: Make, tmp_path: Path, order: Path
) -> None:
    clustered = {"mode": "clustered", "clusters": 6, "nprobe": 2}
    here = finish(settings(fidelity=clustered), tmp_path / "here", LocalPhases())
    (order / "die-once").write_text("/data/part-00001")
    shown = io.StringIO()
    there = settings(fidelity=clustered, generation={"actors": 2})
    drive(asked(there, tmp_path / "run"), line=ProgressLine(shown))
    assert not (order / "die-once").exists()
    store = open_store(tmp_path / "run")
    status = read_status(store)
    assert (status["state"], status["digest"]) == ("done", here)
    assert not [key for key in store.list("") if "progress" in key or key.startswith("ray/")]
    for phase in ("iteration 0/1  trained", "iteration 0/1  generated  7/7 shards", "iteration 1/1  trained"):
        assert phase in shown.getvalue()


def test_ray_asks_for_a_token_in_a_cluster_that_is_started_as_the_driver_starts_it() -> None:
    assert is_token_auth_enabled()


def test_a_second_driver_is_refused_while_the_first_lives(settings: Make, tmp_path: Path) -> None:
    with Lease(open_store(tmp_path / "run")), pytest.raises(LeaseHeldError, match="is alive"):
        drive(asked(settings(), tmp_path / "run"))


@pytest.mark.parametrize("address", ["http://127.0.0.1:8265", "ray-head"])
def test_an_address_that_is_none_of_a_cluster_is_told_as_one(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refusing(**settings: object) -> None:
        raise ValueError("Malformed address")

    monkeypatch.setattr(driver.ray, "init", refusing)
    with pytest.raises(ConfigError, match=f"RAY_ADDRESS={address} is no address .* such as 10"):
        driver._join(address)


def test_ray_that_finds_no_room_to_start_is_a_fault_that_can_be_resumed(monkeypatch: pytest.MonkeyPatch) -> None:
    def refusing(**settings: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(driver.ray, "init", refusing)
    with pytest.raises(ResumableError, match=r"Ray did not start on this machine .* No space left"):
        driver._start(Node(cpus=4, gpus=0))


@pytest.mark.parametrize(("section", "key"), [("generation", "actors"), ("training", "workers")])
def test_more_processes_than_the_cluster_places_are_refused_before_anything_is_written(
    settings: Make, tmp_path: Path, section: str, key: str
) -> None:
    with pytest.raises(ConfigError, match=f"{section}.{key}=5 .* set {section}.{key} to 4 or less"):
        drive(asked(settings(**{section: {key: 5}}), tmp_path / "run"))
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_neither_a_full_disk_nor_a_dying_worker_changes_what_training_ends_in(
    settings: Make, local_digest: str, tmp_path: Path, order: Path
) -> None:
    (order / "full").write_text("training/state")
    with pytest.raises(StorageFullError, match="no room left"):
        drive(asked(settings(), tmp_path / "run"), line=ProgressLine(io.StringIO()))
    (order / "full").unlink()
    (order / "die-once").write_text("training/state")
    drive(asked(settings(), tmp_path / "run"), line=ProgressLine(io.StringIO()))
    assert not (order / "die-once").exists()
    assert read_status(open_store(tmp_path / "run"))["digest"] == local_digest


@pytest.mark.slow
def test_two_workers_train_together_and_a_dying_one_changes_nothing(
    settings: Make, tmp_path: Path, order: Path
) -> None:
    config = settings(training={"workers": 2})
    drive(asked(config, tmp_path / "undisturbed"), line=ProgressLine(io.StringIO()))
    (order / "die-once").write_text("training/state")
    drive(asked(config, tmp_path / "disturbed"), line=ProgressLine(io.StringIO()))
    undisturbed, disturbed = (read_status(open_store(tmp_path / name)) for name in ("undisturbed", "disturbed"))
    assert undisturbed["digest"] == disturbed["digest"]
    assert undisturbed["iterations"][1]["metrics"] == disturbed["iterations"][1]["metrics"]


def test_a_finished_run_starts_nothing(settings: Make, tmp_path: Path) -> None:
    shown = io.StringIO()
    config = settings(loop={"iterations": 0}, training={"max_epochs": 1})
    complete(config, tmp_path / "run", LocalPhases())
    drive(asked(config, tmp_path / "run"), line=ProgressLine(shown))
    assert shown.getvalue() == ""
