"""A machine of the cluster is lost, with every worker and actor on it, while the driver's own stays."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from ray.cluster_utils import Cluster

from rsir_scale.runs.begun import stored_run
from rsir_scale.runs.status import read_status
from rsir_scale.storage.opening import open_store
from rsir_scale.verification.verify import verify
from tests.ray.conftest import Make

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]
_WAIT_S = 300
# Each phase fits on one of the lost machines and not on the driver's.
_HEAD_CPUS, _NODE_CPUS = 1, 3


@pytest.fixture
def machines() -> Iterator[Cluster]:
    head = {"num_cpus": _HEAD_CPUS, "object_store_memory": 128 << 20, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    yield cluster
    cluster.shutdown()


def _wait(process: "subprocess.Popen[str]", until: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _WAIT_S
    while not until():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_run_that_loses_a_machine_in_training_and_one_in_generation_commits_what_an_undisturbed_one_does(
    machines: Cluster, settings: Make, tmp_path: Path
) -> None:
    config, run_dir, undisturbed = tmp_path / "config.yaml", tmp_path / "run", tmp_path / "undisturbed"
    made = settings(generation={"actors": 2}, training={"workers": 2, "batch_size": 32, "max_epochs": 4})
    config.write_text(yaml.safe_dump(made.model_dump(mode="json")))
    node = machines.add_node(num_cpus=_NODE_CPUS, object_store_memory=128 << 20)
    environment = os.environ | {"RAY_ADDRESS": machines.address}
    command = [sys.executable, "-m", "rsir_scale", "run", str(config), "--run-dir"]
    subprocess.run([*command, str(undisturbed)], check=True, env=environment)
    with subprocess.Popen([*command, str(run_dir)], stderr=subprocess.PIPE, text=True, env=environment) as process:
        for moment in ("iteration=000/training/state.json", "iteration=000/generation/commits"):
            _wait(process, (run_dir / moment).exists)
            fresh = machines.add_node(num_cpus=_NODE_CPUS, object_store_memory=128 << 20)
            machines.remove_node(node, allow_graceful=False)
            node = fresh
        _, err = process.communicate(timeout=_WAIT_S)
    assert process.returncode == 0, err
    store = open_store(run_dir)
    assert read_status(store)["digest"] == read_status(open_store(undisturbed))["digest"]
    assert verify(stored_run(store)).ok
