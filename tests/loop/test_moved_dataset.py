"""A dataset that was prepared again elsewhere: its content counts, not the keys of its files."""

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from rsir_scale.data.dataset import PreparedDataset, open_dataset
from rsir_scale.errors import InputError, ResumableError
from rsir_scale.loop.local import LocalPhases
from rsir_scale.loop.recursion import run_recursion
from rsir_scale.runs import layout
from rsir_scale.runs.begun import stored_run
from rsir_scale.runs.content import digest
from rsir_scale.runs.open_run import open_run
from rsir_scale.storage.base import Hook, no_hook
from rsir_scale.storage.opening import open_store
from rsir_scale.verification.verify import verify
from tests.loop.tiny_run import TinyRun, tiny_run


def _moved(dataset: PreparedDataset, folder: Path) -> PreparedDataset:
    """The dataset as a bucket holds it: its files under the name of the attempt that brought them there."""
    shutil.copytree(dataset.path, folder / "attempt")
    record = json.loads((folder / "attempt" / "dataset.json").read_text())
    for file in record["files"]:
        file["path"] = f"attempt/{file['path']}"
    (folder / "dataset.json").write_text(json.dumps(record))
    return open_dataset(folder)


def _drive(run: TinyRun, folder: Path, dataset: PreparedDataset, before: Hook = no_hook) -> None:
    data = run.config.data.model_copy(update={"path": dataset.path})
    config = run.config.model_copy(update={"data": data})
    with open_run(open_store(folder, before=before), config, dataset) as opened:
        run_recursion(opened, LocalPhases())


def _stop(step: str, key: str) -> None:
    if step.startswith("create") and key == layout.commit(1, 1):
        raise ResumableError("the machine is needed elsewhere")


def test_a_run_stopped_in_generation_goes_on_where_its_dataset_was_moved(tmp_path: Path) -> None:
    run = tiny_run()
    there = _moved(run.dataset, tmp_path / "there")
    with pytest.raises(ResumableError, match="needed elsewhere"):
        _drive(run, tmp_path / "run", run.dataset, _stop)
    store = open_store(tmp_path / "run")
    assert store.exists(layout.commit(1, 0))
    _drive(run, tmp_path / "run", there)
    assert digest(stored_run(store)) == digest(run)
    moved = stored_run(store)
    assert [verify(replace(moved, dataset=data)).faults for data in (run.dataset, there)] == [(), ()]


def test_the_same_sequences_in_other_files_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    run = tiny_run().copy_to(tmp_path / "run")
    shutil.copytree(run.dataset.path, tmp_path / "again")
    record = json.loads((tmp_path / "again" / "dataset.json").read_text())
    for file in record["files"]:
        path = tmp_path / "again" / file["path"]
        pq.write_table(pq.read_table(path), path, compression="none")
        file["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    (tmp_path / "again" / "dataset.json").write_text(json.dumps(record))
    again = open_dataset(tmp_path / "again")
    assert again.meta.fingerprint == run.dataset.meta.fingerprint
    before = sorted(run.path.rglob("*"))
    with pytest.raises(InputError, match="but in other files: it was imported again"):
        _drive(run, run.path, again)
    with pytest.raises(InputError, match="but in other files"):
        verify(replace(run, dataset=again))
    assert sorted(run.path.rglob("*")) == before
