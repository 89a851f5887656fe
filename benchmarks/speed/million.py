"""The whole loop over a million items, as a user submits it: how long, how much memory, and is the run sound?

    rsir data synthesize --users 100000 --items 1000000 --out data/million --seed 1
    python -m benchmarks.speed.million --run-dir runs/million --json docs/results/million.json

A cluster of this machine alone is started and given `ray job submit -- python jobs/rsir.py CONFIG`; then comes `rsir
verify`. `wall_s` is from the first try to submit to the job's end, `phases` says when each phase of the run began,
counted from there, by the run's own events. Memory is sampled from outside (`memory.py`), summed over the cluster with
all that it started: Ray's own processes, driver, Train workers, actors. The run directory must be a new one.
"""

import argparse
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.record.memory import Sampler, draw
from benchmarks.record.result_file import Row, write_rows
from rsir_scale.runs.events import read_events
from rsir_scale.runs.status import read_status
from rsir_scale.storage.opening import open_store

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = Path(sys.executable).parent
_NO_AGENT_S = 60.0
_EVERY_S = 2.0  # to sum up the pages of a large process takes a while of its own
_PORTS = ("", "dashboard-agent-listen-", "dashboard-agent-grpc-", "ray-client-server-", "metrics-export-")
Environment = dict[str, str]


def main() -> None:
    """Run, verify, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=Path("configs/million.yaml"))
    parser.add_argument("--set", action="append", default=[], dest="overrides", metavar="section.key=value")
    parser.add_argument("--run-dir", type=Path, required=True)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--figure", type=Path, help="memory over time")
    arguments = parser.parse_args()
    if arguments.run_dir.exists():
        raise SystemExit(f"{arguments.run_dir} exists: give a new run directory")
    with cluster() as (head, environment):
        sampler = Sampler(head.pid, driver="rsir.py")
        began = time.time()
        job = [sys.executable, "jobs/rsir.py", str(arguments.config.resolve())]
        job += ["--run-dir", str(arguments.run_dir.resolve())]
        job += [word for override in arguments.overrides for word in ("--set", override)]
        exit_code = watch(submit(job, environment), environment, sampler)
        wall_s = time.time() - began
    verifies = time.time()
    verified = subprocess.run([SCRIPTS / "rsir", "verify", arguments.run_dir], check=False).returncode
    row: Row = {"exit_code": exit_code, "verify_exit_code": verified, "wall_s": round(wall_s, 1)}
    row |= {"verify_s": round(time.time() - verifies, 1)}
    row |= {"peak_bytes": sampler.peak(), "counted_as": sampler.counted_as, "peak_of_one": sampler.peak_bytes}
    row |= described(arguments.run_dir, began) if exit_code == 0 else {}
    write_rows(arguments.json, [row])
    if arguments.figure:
        draw(arguments.figure, [(f"{arguments.config.name}: {wall_s:.0f} s", sampler.samples)])
    print(row)


@contextmanager
def cluster() -> Iterator[tuple[subprocess.Popen[bytes], Environment]]:
    """A head node on ports of its own, and the environment in which `ray job` finds it."""
    environment = {name: value for name, value in os.environ.items() if name not in {"RAY_ADDRESS", "RAY_JOB_HEADERS"}}
    dashboard = free_port()
    environment |= {
        "RAY_AUTH_MODE": "token",
        "RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{dashboard}",
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    subprocess.run([SCRIPTS / "ray", "get-auth-token", "--generate"], env=environment, check=True, capture_output=True)
    command = [str(SCRIPTS / "ray"), "start", "--head", "--block", f"--dashboard-port={dashboard}"]
    command += [f"--{name}port={free_port()}" for name in _PORTS]
    head = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield head, environment
    finally:
        head.terminate()
        head.wait(timeout=60)


def free_port() -> int:
    """A TCP port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def submit(job: Sequence[str], environment: Environment) -> str:
    """Submit, again while the new cluster says that it has no agent yet; returns the job's name."""
    name = f"million-{time.time():.0f}"
    command = [str(SCRIPTS / "ray"), "job", "submit", "--no-wait", "--submission-id", name, "--", *job]
    deadline = time.monotonic() + _NO_AGENT_S
    while (
        told := subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    ).returncode:
        if time.monotonic() > deadline:
            raise SystemExit(told.stdout + told.stderr)
        time.sleep(2)
    return name


def watch(job: str, environment: Environment, sampler: Sampler) -> int:
    """Sample until the job has ended; returns 0 where it succeeded."""
    following = subprocess.Popen([SCRIPTS / "ray", "job", "logs", "--follow", job], env=environment)
    while following.poll() is None:
        sampler.sample()
        time.sleep(_EVERY_S)
    status = [str(SCRIPTS / "ray"), "job", "status", job]
    told = subprocess.run(status, env=environment, capture_output=True, text=True, check=False)
    return 0 if "succeeded" in told.stdout else 1


def described(run_dir: Path, began: float) -> Row:
    """Phases, and what each iteration found and wrote."""
    store = open_store(run_dir)
    status = read_status(store)
    phases = [
        {"event": event["event"], "iteration": event.get("iteration"), "after_s": round(_time(event) - began, 1)}
        for event in read_events(store)
    ]
    return {"state": status["state"], "phases": phases, "iterations": status["iterations"]}


def _time(event: Mapping[str, Any]) -> float:
    return float(event["time"])


if __name__ == "__main__":
    main()
