"""Fixtures: one S3 server for the whole session, and a bucket of its own for each test."""

import uuid
from collections.abc import Iterator

import pytest

from devtools.s3_server import S3Server, s3_server


@pytest.fixture(scope="session")
def server() -> Iterator[S3Server]:
    """A server; what it was told to let go wrong ends with each test that has a `bucket`."""
    with s3_server() as running:
        yield running


@pytest.fixture
def bucket(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of an empty bucket, to which this process's environment leads."""
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    yield server.make_bucket(f"bucket-{uuid.uuid4().hex[:12]}")
    server.fail(0.0)
