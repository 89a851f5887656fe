"""The whole loop on three hosts without a common disk, of which one is lost: killed, or cut off, in either phase.

    sudo env OMP_NUM_THREADS=1 .venv/bin/python -m benchmarks.faults.three_hosts --json three-hosts.json

Hosts are namespaces (`hosts.py`): each has its own raylet and disk, one token leads into all (RAY_AUTH_MODE=token), and
dataset and runs lie on an S3 server. A run is the real command on the head, with two Train workers and
two actors on three CPUs, one a host; so those fit on any two hosts. The head is never lost; `hosts_run.py` says when
others are. They come back for the next run; in `one in each` the first does so within the run, 20 s later. What a run
committed is held to what the same command commits on one machine, undisturbed: rows by id, digest, `rsir verify`; a
host that was cut off is plugged in again before, so that it may write what it still has.
"""

import argparse
import json
import os
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from benchmarks.faults.hosts import OUTSIDE, in_own_network, wire
from benchmarks.faults.hosts_cluster import HostCluster, code_folders
from benchmarks.faults.hosts_run import CUT, GENERATION, KILL, TRAINING, HostsRun, Loss, NotAsMeantError
from benchmarks.faults.small_run import SmallRun, compare, is_golden, small_run
from benchmarks.record.result_file import Row, write_rows
from devtools.s3_server import s3_server
from rsir_scale.config.settings import Config
from rsir_scale.data.synthetic import synthesize
from rsir_scale.storage.opening import open_store

USERS, ITEMS = 600, 300
SETTINGS: dict[str, dict[str, object]] = {
    "model": {"width": 16, "feed_forward": 16, "dropout": 0.1},
    "training": {"batch_size": 64, "max_epochs": 24, "patience": 24, "loss": "cross_entropy", "workers": 2},
    "generation": {"shard_sources": 15, "trials_per_sequence": 12, "actors": 2, "sources": "real"},
    "loop": {"iterations": 1},
}
DISTURBANCES: dict[str, tuple[Loss, ...]] = {
    "none": (),
    "killed in training": ((TRAINING, KILL),),
    "cut off in training": ((TRAINING, CUT),),
    "killed in generation": ((GENERATION, KILL),),
    "cut off in generation": ((GENERATION, CUT),),
    "one in each": ((TRAINING, KILL), (GENERATION, CUT)),
}
_CPUS = (1, 1, 1)
_CONFIG = "/tmp/home/config.yaml"


def study(names: list[str], ray_settings: list[str], folder: Path, json_file: Path) -> list[Row]:
    """Make market and golden run, then a run with each disturbance; rows are saved as they come."""
    small = small_run(folder / "golden", users=USERS, items=ITEMS, settings=SETTINGS)
    print(f"the golden run took {small.seconds:.0f} s and wrote {len(small.rows)} rows", flush=True)
    rows: list[Row] = []
    with ExitStack() as stack:
        cables = stack.enter_context(wire(code_folders()))
        server = stack.enter_context(s3_server(OUTSIDE))
        os.environ.update(server.environment)
        bucket = server.make_bucket("three-hosts")
        synthesize(users=USERS, items=ITEMS, out=f"{bucket}/data", seed=1)
        small = replace(small, config=_on(small.config, f"{bucket}/data"))
        shared = server.environment | _of_all_hosts() | dict(setting.split("=", 1) for setting in ray_settings)
        cluster = HostCluster(cables, _CPUS, shared)
        cluster.head.write(_CONFIG, small.config_file.read_text())
        for name in names:
            rows.append(one_run(small, cluster, bucket, name, folder))
            told = rows[-1] | lost_time(rows)
            rows[-1] = told
            print(json.dumps(told), flush=True)
            write_rows(json_file, rows, ray_settings=ray_settings, cpus=list(_CPUS), settings=SETTINGS)
    return rows


def one_run(small: SmallRun, cluster: HostCluster, bucket: str, name: str, folder: Path) -> Row:
    """A run that is disturbed so, and what it comes to."""
    url = f"{bucket}/runs/{name.replace(' ', '-')}"
    command = [sys.executable, "-m", "rsir_scale", "run", _CONFIG, "--run-dir", url]
    command += ["--set", f"data.path={small.config.data.path}"]
    log = folder / f"{name}.log"
    run = HostsRun(cluster, open_store(url), command, list(DISTURBANCES[name]), log)
    try:
        seconds = run.finish()
    except NotAsMeantError as error:
        raise SystemExit(f"{name}: {error}\n{log.read_text()[-3000:]}") from error
    row: Row = {"disturbance": name, "seconds": round(seconds, 1), "exit_codes": run.codes}
    row["lost"] = [lost.row for lost in run.lost]
    if run.codes[-1]:
        raise SystemExit(f"{row} ended otherwise than done:\n{log.read_text()[-3000:]}")
    run.settle()
    row |= compare(small, url)
    run.bring_back()
    return row


def lost_time(rows: list[Row]) -> Row:
    """Seconds more than the first run took, which nobody disturbed."""
    if rows[0]["disturbance"] != "none":
        return {}
    return {"seconds_lost": round(rows[-1]["seconds"] - rows[0]["seconds"], 1)}


def _on(config: Config, path: str) -> Config:
    """The same settings for the same market elsewhere."""
    return config.model_copy(update={"data": config.data.model_copy(update={"path": path})})


def _of_all_hosts() -> dict[str, str]:
    """What every process on every host has in its environment, credentials aside."""
    code = os.pathsep.join(str(folder) for folder in code_folders()[:1])
    return {"PYTHONPATH": code, "OMP_NUM_THREADS": "1", "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"}


def main() -> None:
    """Run, compare and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=DISTURBANCES, default=list(DISTURBANCES), metavar="DISTURBANCE")
    parser.add_argument("--ray", nargs="*", default=[], metavar="RAY_…=VALUE", help="Ray's settings on all hosts")
    parser.add_argument("--json", type=Path, required=True)
    arguments = parser.parse_args()
    in_own_network()
    with tempfile.TemporaryDirectory(prefix="rsir-three-hosts-") as folder:
        rows = study(arguments.only, arguments.ray, Path(folder), arguments.json)
    if not all(is_golden(row) for row in rows):
        sys.exit("a run is not the golden one: see the rows above")


if __name__ == "__main__":
    main()
