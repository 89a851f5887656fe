"""Dataset and run in a bucket: the same rows as on a disk, whatever one request in fifty comes to."""

import json
from pathlib import Path

import pytest

from devtools.s3_server import S3Server
from rsir_scale.cli.main import main
from rsir_scale.config.settings import Config
from rsir_scale.data.dataset import open_dataset
from rsir_scale.data.synthetic import synthesize
from rsir_scale.errors import InputError, ResumableError
from rsir_scale.loop.local import LocalPhases
from rsir_scale.loop.recursion import run_recursion
from rsir_scale.runs.begun import stored_run
from rsir_scale.runs.content import digest
from rsir_scale.runs.events import read_events
from rsir_scale.runs.open_run import open_run
from rsir_scale.runs.status import read_status
from rsir_scale.storage.base import Store
from rsir_scale.storage.objects import ObjectStore
from rsir_scale.storage.opening import open_store
from rsir_scale.verification.verify import verify
from tests.loop.tiny_run import tiny_run


def _run(config: Config, store: Store) -> None:
    dataset = open_dataset(config.data.path)
    with open_run(store, config, dataset) as run:
        run_recursion(run, LocalPhases())


@pytest.mark.slow
def test_a_run_in_a_bucket_writes_the_rows_that_a_run_on_a_disk_writes(server: S3Server, bucket: str) -> None:
    local = tiny_run()
    server.fail(0.02, seed=3)
    store = open_store(f"{bucket}/runs/one")
    _run(local.config, store)
    report = verify(stored_run(store))
    went_wrong = server.counts()
    server.fail(0.0)
    assert sum(went_wrong.values()) - went_wrong["none"] > 5
    assert digest(stored_run(store)) == digest(local)
    assert report.ok
    assert read_status(store)["state"] == "done"
    assert [event["event"] for event in read_events(store)] == [event["event"] for event in read_events(local.store)]


def test_a_run_whose_store_goes_away_is_resumed_to_the_same_rows(server: S3Server, bucket: str) -> None:
    local, stops = tiny_run(), 0
    store = ObjectStore(f"{bucket}/run", retry_s=0.0)
    server.fail(0.02, ["refuse", "lost", "torn"], seed=9)
    while True:
        try:
            _run(local.config, store)
            break
        except ResumableError:
            stops += 1
            assert stops < 50
    server.fail(0.0)
    assert stops > 3
    assert digest(stored_run(store)) == digest(local)


def test_a_dataset_in_a_bucket_is_the_one_on_the_disk(
    bucket: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here, there = tmp_path / "here", f"{bucket}/data/there"
    for out in (str(here), there):
        synthesize(users=50, items=20, out=out, seed=4)
    one, other = open_dataset(here), open_dataset(there)
    assert one.meta.fingerprint == other.meta.fingerprint
    assert one.training_sequences().items.tolist() == other.training_sequences().items.tolist()
    assert one.held_out().test.tolist() == other.held_out().test.tolist()
    main_code = _code(["data", "stats", there, "--json"])
    assert (main_code, json.loads(capsys.readouterr().out)["fingerprint"]) == (0, one.meta.fingerprint)
    with pytest.raises(InputError, match="holds a dataset already"):
        synthesize(users=50, items=20, out=there, seed=4)
    with pytest.raises(InputError, match=r"holds no dataset\.json"):
        open_dataset(f"{bucket}/data")


def _code(arguments: list[str]) -> int:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    return int(end.value.code or 0)
