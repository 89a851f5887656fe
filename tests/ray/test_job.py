"""The same run through a real `ray start --head` and `ray job submit`, in a home without a token."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from rsir_scale.runs.status import read_status
from rsir_scale.storage.opening import open_store
from tests.ray.conftest import Make

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]
ROOT = Path(__file__).resolve().parents[2]
RAY = Path(sys.executable).with_name("ray")
_WAIT_S = 240


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """What the README's commands set, and an address of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return kept | {
        "HOME": str(tmp_path / "home"),
        "RAY_AUTH_MODE": "token",
        "RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{_free_port()}",
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
    }


@pytest.fixture
def head(environment: dict[str, str]) -> Iterator[None]:
    subprocess.run([RAY, "get-auth-token", "--generate"], env=environment, check=True, capture_output=True)
    dashboard = environment["RAY_API_SERVER_ADDRESS"].rpartition(":")[2]
    command = [RAY, "start", "--head", "--block", "--num-cpus=4", "--object-store-memory=268435456"]
    # A second cluster on a machine gets no agent unless every default port is another.
    command += [f"--dashboard-port={dashboard}", "--disable-usage-stats"]
    for name in ("", "dashboard-agent-listen-", "dashboard-agent-grpc-", "ray-client-server-", "metrics-export-"):
        command.append(f"--{name}port={_free_port()}")
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    yield
    process.terminate()
    process.wait(timeout=60)


def _ray_job(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(RAY), "job", *arguments]
    return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=_WAIT_S)


def test_a_job_that_is_stopped_and_submitted_again_commits_what_one_process_does(
    environment: dict[str, str], head: None, settings: Make, local_digest: str, tmp_path: Path
) -> None:
    config, run_dir = tmp_path / "config.yaml", tmp_path / "run"
    config.write_text(yaml.safe_dump(settings(generation={"actors": 2}).model_dump(mode="json")))
    job = ["--", sys.executable, "jobs/rsir.py", str(config), "--run-dir", str(run_dir)]
    deadline = time.monotonic() + _WAIT_S
    # For some seconds after the start, the cluster answers that it has no agent yet.
    while (
        first := _ray_job(environment, "submit", "--no-wait", "--submission-id", f"first-{time.time():.0f}", *job)
    ).returncode:
        assert time.monotonic() < deadline, first.stderr
        time.sleep(2)
    name = first.args[first.args.index("--submission-id") + 1]
    while not (run_dir / "iteration=000/model/model.json").exists():
        assert time.monotonic() < deadline, _ray_job(environment, "logs", name).stdout
        time.sleep(0.2)
    assert _ray_job(environment, "stop", name).returncode == 0
    assert _ray_job(environment, "logs", name).stdout.rstrip().endswith(f"rsir resume {run_dir}")
    second = _ray_job(environment, "submit", *job)
    assert second.returncode == 0, second.stdout
    status = read_status(open_store(run_dir))
    assert (status["state"], status["digest"]) == ("done", local_digest)


def test_a_job_with_bad_settings_fails_with_its_message(
    environment: dict[str, str], head: None, tmp_path: Path
) -> None:
    arguments = [
        "--",
        sys.executable,
        "jobs/rsir.py",
        str(tmp_path / "absent.yaml"),
        "--run-dir",
        str(tmp_path / "run"),
    ]
    deadline = time.monotonic() + _WAIT_S
    while "absent.yaml cannot be read" not in (done := _ray_job(environment, "submit", *arguments)).stdout:
        assert time.monotonic() < deadline, done.stdout + done.stderr
        time.sleep(2)
    assert done.returncode != 0
    assert "exit code 2" in done.stdout
