"""A small run to start, kill and take up again: its market, its settings, and what it commits when undisturbed.

Comes in: a folder and sizes. Goes out: a `SmallRun` with the digest and the rows by id of a golden run, made without
Ray in a process of its own, or by the real command where a fit has several workers. Whoever drives and whatever is
killed, a run ends in that digest; rows are compared by id, so that one lost or doubled is counted and not only noticed.
"""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
import yaml

from devtools.s3_server import S3Server, s3_server
from rsir_scale.config.file import resolve
from rsir_scale.config.settings import Config
from rsir_scale.data.dataset import PreparedDataset, open_dataset
from rsir_scale.data.schema import CONTENT_HASH, SEQUENCE_ID
from rsir_scale.data.synthetic import synthesize
from rsir_scale.errors import ResumableError, RsirError
from rsir_scale.loop.local import LocalPhases
from rsir_scale.loop.recursion import run_recursion
from rsir_scale.runs.begun import stored_run
from rsir_scale.runs.content import digest
from rsir_scale.runs.lineage import part_files
from rsir_scale.runs.manifest import read_chain
from rsir_scale.runs.open_run import open_run
from rsir_scale.runs.owners import kept_rows
from rsir_scale.storage.base import Hook, Store
from rsir_scale.storage.opening import open_store
from rsir_scale.verification.verify import verify

Rows = dict[int, bytes]
# How a driver may end, by its exit code.
ENDS = {0: "done", -signal.SIGKILL: "killed", ResumableError.exit_code: "stopped, resumable"}
# A fork of a server that has imported all this, and used none of it, begins at once.
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    ["obstore", "polars", "torch._dynamo", "rsir_scale.loop.local", "rsir_scale.loop.recursion"]
)


@dataclass(frozen=True)
class SmallRun:
    """Settings, data, and what every run of them has to come to."""

    config: Config
    config_file: Path
    digest: str
    rows: Rows
    seconds: float

    @property
    def dataset(self) -> PreparedDataset:
        """The market."""
        return open_dataset(self.config.data.path)


def small_run(folder: Path, *, users: int, items: int, settings: dict[str, dict[str, object]]) -> SmallRun:
    """Make market, settings and golden run in a new folder."""
    synthesize(users=users, items=items, out=folder / "data", seed=1)
    config = resolve(settings | {"data": settings.get("data", {}) | {"path": str(folder / "data")}})
    config_file = folder / "config.yaml"
    config_file.write_text(yaml.safe_dump(config.model_dump(mode="json")))
    _join(FORKS.Process(target=int))
    started = time.monotonic()
    code = _golden(config, config_file, folder)
    if code:
        raise SystemExit(f"the golden run ended with exit code {code}")
    seconds = time.monotonic() - started
    golden = stored_run(open_store(folder / "golden"))
    found = digest(golden)
    if found is None or not verify(golden).ok:
        raise SystemExit("the golden run is not sound: nothing is compared with it")
    return SmallRun(config, config_file, found, stored_rows(golden.store)[0], seconds)


def _join(process: BaseProcess) -> None:
    process.start()
    process.join()


def _golden(config: Config, config_file: Path, folder: Path) -> int | None:
    """Make the golden run; what a fit ends in depends on how many workers it has, and without Ray there is one."""
    url = str(folder / "golden")
    if config.training.workers > 1:
        with (folder / "golden.log").open("w") as log:
            words = rsir("run", str(config_file), "--run-dir", url)
            return subprocess.run(words, check=False, stdout=log, stderr=log, env=command_environment()).returncode
    golden = FORKS.Process(target=drive, args=(config, url))
    _join(golden)
    return golden.exitcode


def drive(config: Config, url: str, *, before: Hook | None = None, told: Path | None = None) -> None:
    """Drive a run to its end in this process, as `rsir run` does but without Ray; ends the process on an error."""
    torch.set_num_threads(1)
    try:
        dataset = open_dataset(config.data.path)
        with open_run(open_store(url, before=before), config, dataset) as opened:
            run_recursion(opened, LocalPhases())
    except RsirError as error:
        message = f"rsir: {error}\n"
        sys.stderr.write(message) if told is None else told.write_text(message)
        sys.exit(error.exit_code)


def stored_rows(store: Store) -> tuple[Rows, int]:
    """The kept synthetic rows of finished iterations, by id, as hashes of their content; how often one came again."""
    rows: Rows = {}
    seen = 0
    for manifest in read_chain(store):
        files = part_files(manifest.files)
        for table in kept_rows(store, files, [SEQUENCE_ID, CONTENT_HASH]):
            ids, hashes = (table.column(name).to_pylist() for name in (SEQUENCE_ID, CONTENT_HASH))
            rows |= dict(zip(ids, hashes, strict=True))
            seen += len(ids)
    return rows, seen - len(rows)


def compare(small: SmallRun, url: str) -> dict[str, Any]:
    """Hold a finished run to the golden one: rows by id, the digest, and `rsir verify`."""
    run = stored_run(open_store(url))
    rows, doubled = stored_rows(run.store)
    report = verify(run)
    return {
        "rows": len(rows),
        "rows_lost": len(small.rows.keys() - rows.keys()),
        "rows_doubled": doubled + len(rows.keys() - small.rows.keys()),
        "rows_changed": sum(small.rows[key] != rows[key] for key in small.rows.keys() & rows.keys()),
        "same_digest": digest(run) == small.digest,
        "verified": report.ok,
        "faults": [f"{fault}" for fault in report.faults[:3]],
    }


def is_golden(found: dict[str, Any]) -> bool:
    """Whether a comparison found nothing amiss."""
    wrong = found["rows_lost"] + found["rows_doubled"] + found["rows_changed"]
    return not wrong and bool(found["same_digest"]) and bool(found["verified"])


def rsir(*words: str) -> list[str]:
    """A command of `rsir`, by this interpreter."""
    return [sys.executable, "-m", "rsir_scale", *words]


def command(small: SmallRun, url: str, *more: str) -> list[str]:
    """The real command, with Ray; `more` are options of `rsir run`."""
    return rsir("run", str(small.config_file), "--run-dir", url, *more)


def command_environment() -> dict[str, str]:
    """This environment with one thread a library and a cluster of the command's own."""
    kept = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    return kept | {"OMP_NUM_THREADS": "1"}


@contextmanager
def stores(kind: str, folder: Path, faults: float) -> Iterator[Callable[[str], str]]:
    """Addresses of new run directories, by name."""
    if kind == "disk":
        yield lambda name: str(folder / "runs" / name)
        return
    with faulty_s3(faults) as (_, bucket):
        yield lambda name: f"{bucket}/{name}"


@contextmanager
def faulty_s3(share: float) -> Iterator[tuple[S3Server, str]]:
    """An S3 server, of whose requests a share (0..1) goes wrong, and the address of a bucket there.

    The environment of this process, and so of those it starts, leads there from now on.
    """
    with s3_server() as server:
        os.environ.update(server.environment)
        bucket = server.make_bucket("runs")
        server.fail(share, seed=1)
        yield server, bucket
