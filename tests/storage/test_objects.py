"""A bucket of a real S3 server over HTTP keeps the contract, also while its answers are late, refused, cut or lost."""

from functools import partial

import pytest
from obstore.exceptions import AlreadyExistsError as TakenError

from devtools.s3_server import KINDS, S3Server
from rsir_scale.errors import ConfigError, ResumableError
from rsir_scale.storage.base import AlreadyExistsError, is_temporary
from rsir_scale.storage.objects import AccessDeniedError, ObjectStore
from rsir_scale.storage.opening import open_store
from tests.storage.contract import StoreContract, Stores


class TestABucket(StoreContract):
    @pytest.fixture
    def stores(self, bucket: str) -> Stores:
        return partial(open_store, f"{bucket}/some/run")


class TestAWholeBucket(StoreContract):
    @pytest.fixture
    def stores(self, bucket: str) -> Stores:
        return partial(open_store, bucket)


# Others are met by the runs of `tests/loop/test_on_s3.py`.
@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=() if kind in ("lost", "torn") else pytest.mark.slow) for kind in KINDS]
)
def test_half_of_all_requests_may_go_wrong(server: S3Server, bucket: str, kind: str) -> None:
    store = ObjectStore(f"{bucket}/run")
    server.fail(0.5, [kind], seed=1)
    data = bytes(range(256)) * 40
    for number in range(2):
        store.create(f"record-{number}", data)
        store.put("state", data[:number])
        assert store.open_read(f"record-{number}").read() == data
        assert store.read("state") == data[:number]
        with pytest.raises(AlreadyExistsError):
            store.create(f"record-{number}", b"of another attempt")
    went_wrong = server.counts()[kind]
    server.fail(0.0)
    assert went_wrong > 2
    assert list(store.list("")) == [*(f"record-{number}" for number in range(2)), "state"]


def test_a_store_that_stays_away_is_a_fault_that_can_be_resumed(server: S3Server, bucket: str) -> None:
    store = ObjectStore(bucket, retry_s=1.0)
    server.fail(1.0, ["refuse"])
    for call in (lambda: store.create("a", b""), lambda: store.read("a"), lambda: list(store.list(""))):
        with pytest.raises(ResumableError, match="the store failed"):
            call()


def test_a_store_that_ignores_the_condition_is_refused_by_name(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import obstore

    put = obstore.put
    monkeypatch.setattr(obstore, "put", lambda *args, mode=None, **rest: put(*args, **rest))
    with pytest.raises(ConfigError, match=rf"{bucket}: this store overwrites"):
        ObjectStore(bucket).require_atomic_create()
    assert list(ObjectStore(bucket).list("")) == []


@pytest.mark.parametrize("conflicts", [2, 10**6])
def test_a_conflict_that_came_to_nothing_is_tried_again_and_never_told_as_another_object(
    bucket: str, monkeypatch: pytest.MonkeyPatch, conflicts: int
) -> None:
    import obstore

    put, met = obstore.put, []

    def conflicting(*given: object, **named: object) -> object:
        met.append(given)
        if len(met) <= conflicts:
            raise TakenError("a conflict with a request under way")
        return put(*given, **named)

    monkeypatch.setattr(obstore, "put", conflicting)
    store = ObjectStore(bucket)
    if conflicts == 2:
        store.create("a", b"x")
        assert store.read("a") == b"x"
    else:
        with pytest.raises(ResumableError, match="came to nothing"):
            store.create("a", b"x")
        assert store.read_if_exists("a") is None


def test_what_tries_a_store_out_belongs_to_nothing_else_in_it(bucket: str) -> None:
    keys: list[str] = []
    ObjectStore(bucket, before=lambda step, key: keys.append(key)).require_atomic_create()
    assert keys
    assert all(is_temporary(key) for key in keys)


def test_a_bucket_that_is_not_there_is_refused(bucket: str) -> None:
    store = ObjectStore(f"{bucket}-absent/run")
    assert store.read_if_exists("a") is None
    with pytest.raises(ConfigError, match="no such bucket"):
        store.create("a", b"")


def test_an_address_without_a_bucket_is_refused() -> None:
    with pytest.raises(ConfigError, match="s3://bucket/prefix"):
        ObjectStore("s3://")


def test_refused_credentials_are_told_without_telling_them(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import obstore
    from obstore.exceptions import PermissionDeniedError

    def refuse(*args: object, **rest: object) -> None:
        raise PermissionDeniedError("403 Forbidden: AccessDenied")

    monkeypatch.setattr(obstore, "put", refuse)
    with pytest.raises(AccessDeniedError, match="refuses these credentials") as caught:
        ObjectStore(bucket).create("a", b"")
    assert "testing-secret" not in str(caught.value)
    with pytest.raises(ConfigError, match="refuses these credentials"):
        ObjectStore(bucket).require_atomic_create()


def test_one_handle_reads_what_another_replaces(bucket: str) -> None:
    reader, writer = ObjectStore(bucket), ObjectStore(bucket)
    for number in range(20):
        writer.put("state", bytes([number]) * 1000)
        assert reader.read("state") == bytes([number]) * 1000
