"""What is secret in a process's environment is in nothing that a run writes or says."""

import os

import pytest

from devtools.s3_server import S3Server
from rsir_scale.data.dataset import open_dataset
from rsir_scale.data.synthetic import synthesize
from rsir_scale.errors import RsirError
from rsir_scale.loop.local import LocalPhases
from rsir_scale.loop.recursion import run_recursion
from rsir_scale.runs.begun import stored_run
from rsir_scale.runs.open_run import open_run
from rsir_scale.storage.objects import ObjectStore
from rsir_scale.storage.opening import open_store
from rsir_scale.verification.verify import verify
from tests.loop.tiny_run import tiny_run

MARK = "kept-to-itself"


@pytest.fixture
def secrets(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The usual places of secrets, each marked; after `bucket`, which sets some of them."""
    for name in ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "RAY_AUTH_TOKEN", "HF_TOKEN", "WANDB_API_KEY"):
        monkeypatch.setenv(name, f"{MARK}-{name}")


@pytest.mark.usefixtures("secrets")
def test_no_object_of_a_run_or_a_dataset_holds_a_secret(bucket: str, capfd: pytest.CaptureFixture[str]) -> None:
    synthesize(users=60, items=30, out=f"{bucket}/data", seed=1)
    dataset, store = open_dataset(f"{bucket}/data"), open_store(f"{bucket}/run")
    config = tiny_run().config
    config = config.model_copy(update={"data": config.data.model_copy(update={"path": dataset.path})})
    with open_run(store, config, dataset) as run:
        run_recursion(run, LocalPhases())
    assert verify(stored_run(store)).ok
    everything = open_store(bucket)
    written = {key: everything.read(key) for key in everything.list("")}
    assert len(written) > 20
    assert not [key for key, data in written.items() if MARK.encode() in data]
    assert MARK not in "".join(capfd.readouterr())


@pytest.mark.usefixtures("secrets")
def test_a_store_that_fails_or_refuses_says_no_secret(
    server: S3Server, bucket: str, capfd: pytest.CaptureFixture[str]
) -> None:
    server.fail(1.0, ["refuse", "cut", "lost"])
    for retry_s in (0.0, 0.5):
        with pytest.raises(RsirError) as caught:
            ObjectStore(f"{bucket}/run", retry_s=retry_s).create("key", b"data")
        assert MARK not in f"{caught.value}{caught.value!r}{caught.value.__cause__!r}"
    assert MARK in os.environ["AWS_SECRET_ACCESS_KEY"]
    assert MARK not in "".join(capfd.readouterr())
