"""What a broken fit leaves reserved is let go before the next one begins."""

import io
from pathlib import Path

import pytest
import ray
from ray.util import placement_group, remove_placement_group

from rsir_scale.loop.driver import drive
from rsir_scale.loop.line import ProgressLine
from rsir_scale.runs.status import read_status
from rsir_scale.storage.opening import open_store
from rsir_scale.training import trainer
from rsir_scale.training.network import NodeTorchConfig
from rsir_scale.training.reservations import let_go, reservations
from tests.ray import faults
from tests.ray.conftest import Make, asked

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("cluster")]


def test_what_an_attempt_left_reserved_is_let_go_and_what_was_there_before_stays() -> None:
    kept = placement_group([{"CPU": 1}])
    ray.get(kept.ready())
    before = reservations()
    left = placement_group([{"CPU": 1}] * 2)
    ray.get(left.ready())
    assert len(reservations() - before) == 1
    let_go(before)
    assert reservations() == before
    remove_placement_group(kept)
    assert reservations() < before


@pytest.mark.slow
def test_a_fit_whose_workers_could_not_connect_leaves_room_for_the_next(
    settings: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Three of four CPUs, so that two attempts do not fit beside each other.
    config = settings(training={"workers": 3}, loop={"iterations": 0})
    monkeypatch.setenv("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", "90")
    kinds = iter([faults.Unconnected])
    monkeypatch.setattr(trainer, "NodeTorchConfig", lambda **given: next(kinds, NodeTorchConfig)(**given))
    drive(asked(config, tmp_path / "run"), line=ProgressLine(io.StringIO()))
    assert next(kinds, None) is None
    assert read_status(open_store(tmp_path / "run"))["state"] == "done"
