"""A driver in a process of its own, told to stop or killed."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from rsir_scale.runs.begun import stored_run
from rsir_scale.runs.content import digest
from rsir_scale.storage.opening import open_store
from tests.ray.conftest import Make

pytestmark = pytest.mark.ray
_SLOW_START_S = 240


@pytest.fixture
def config_file(settings: Make, tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(settings(generation={"actors": 2}).model_dump(mode="json")))
    return path


@contextlib.contextmanager
def driver(config_file: Path, run_dir: Path, *, address: str | None = None) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-m", "rsir_scale", "run", str(config_file), "--run-dir", str(run_dir)]
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    environment |= {} if address is None else {"RAY_ADDRESS": address}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        try:
            yield process
        finally:
            process.kill()


def wait(process: "subprocess.Popen[str]", until: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _SLOW_START_S
    while not until():
        assert process.poll() is None, process.stderr and process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_run_before_its_first_phase_does_and_the_last_line_resumes_it(
    config_file: Path, tmp_path: Path, number: signal.Signals, cluster: str
) -> None:
    run_dir = tmp_path / "run"
    # One driver starts a cluster of its own, the other one joins one.
    with driver(config_file, run_dir, address=None if number == signal.SIGTERM else cluster) as process:
        wait(process, (run_dir / "events.jsonl").exists)
        time.sleep(2)  # while Ray starts, or workers do
        process.send_signal(number)
        _, err = process.communicate(timeout=_SLOW_START_S)
    assert process.returncode == 3
    assert err.splitlines()[-1] == f"rsir resume {run_dir}"
    assert json.loads((run_dir / "events.jsonl").read_text().splitlines()[-1])["event"] == "run_stopped"
    assert not (run_dir / "iteration=000/generation").exists()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_killed_in_training_and_in_generation_commits_what_an_undisturbed_one_does(
    config_file: Path, tmp_path: Path, local_digest: str, settings: Make
) -> None:
    run_dir = tmp_path / "run"
    moments = ["iteration=000/training/state.json", "iteration=000/generation/commits", "iteration=001/training"]
    for moment in moments:
        with driver(config_file, run_dir) as process:
            wait(process, (run_dir / moment).exists)
            process.send_signal(signal.SIGKILL)
    with driver(config_file, run_dir) as process:
        _, err = process.communicate(timeout=_SLOW_START_S)
    assert process.returncode == 0, err
    assert digest(stored_run(open_store(run_dir))) == local_digest
