"""A store in a bucket: S3 and what speaks its protocol, Google Cloud Storage, Azure.

`create` and `put_new` are one conditional PUT (`If-None-Match: *`), which the store decides; nothing is renamed, and
nothing that counts rests on a listing. A request whose answer was lost is sent again and then finds its own object: so
an object that holds just the bytes at hand counts as made. What contenders write differs, since it names its attempt or
its process. A request that fails is made again after growing pauses, for `RETRY_S` at the most. Credentials, region and
endpoint come from the environment (`AWS_ACCESS_KEY_ID`, `AWS_REGION`, `AWS_ENDPOINT_URL`, …) and appear nowhere else.
"""

import io
import os
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, BinaryIO

import obstore
from obstore.exceptions import AlreadyExistsError as TakenError
from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import from_url

from rsir_scale.errors import ConfigError, ResumableError, StorageFullError
from rsir_scale.storage.base import AlreadyExistsError, Hook, ObjectMissingError, check_key, new_temporary, no_hook
from rsir_scale.storage.retries import Result, persist

RETRY_S = 120.0
_REQUEST_S = 60.0
_CREATES = 5
_READ_BYTES = 1 << 20
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
_FULL = ("StorageFull", "QuotaExceeded", "InsufficientStorage")


class AccessDeniedError(ResumableError):
    """The store does not accept the credentials, or does not let them do this."""


class ObjectStore:
    """A bucket, or the part of it under a prefix.

    Args:
        url: `s3://bucket/prefix` and the like.
        before: hook for tests.
        retry_s: seconds for which a failing request is tried again.

    Raises:
        ConfigError: the address names no bucket.
    """

    def __init__(self, url: str, *, before: Hook | None = None, retry_s: float = RETRY_S) -> None:
        self._root = url.rstrip("/")
        self._before: Hook = before or no_hook
        self._endpoint = _endpoint(url)
        self._retry_s = retry_s
        settings: Any = {
            "config": {"aws_endpoint_url": self._endpoint} if self._endpoint else None,
            "client_options": {"timeout": timedelta(seconds=_REQUEST_S), "allow_http": _is_plain(self._endpoint)},
            "retry_config": {"max_retries": 0},
        }
        try:
            # What fails is tried again here: obstore does not repeat a request whose answer breaks off.
            self._objects: Any = from_url(self._root, **settings)
        except (BaseError, ValueError) as error:
            raise ConfigError(f"{url} is no address of a bucket ({error}): write s3://bucket/prefix") from error

    @property
    def root(self) -> str:
        """The address."""
        return self._root

    def read(self, key: str) -> bytes:
        """See `Store.read`."""
        check_key(key, self._root)
        self._before("read", key)
        with self._reading(key):
            return self._send(lambda: bytes(obstore.get(self._objects, key).bytes()))

    def read_if_exists(self, key: str) -> bytes | None:
        """See `Store.read_if_exists`."""
        try:
            return self.read(key)
        except ObjectMissingError:
            return None

    def open_read(self, key: str) -> BinaryIO:
        """See `Store.open_read`."""
        check_key(key, self._root)
        self._before("read", key)
        with self._reading(key):
            return io.BufferedReader(_Reader(self, key), _READ_BYTES)

    def exists(self, key: str) -> bool:
        """See `Store.exists`."""
        check_key(key, self._root)
        self._before("exists", key)
        try:
            with self._reading(key):
                self._send(lambda: obstore.head(self._objects, key))
        except ObjectMissingError:
            return False
        return True

    def put(self, key: str, data: bytes) -> None:
        """See `Store.put`."""
        check_key(key, self._root)
        self._before("put.send", key)
        with self._writing(key):
            self._send(lambda: obstore.put(self._objects, key, data, use_multipart=False))
        self._before("put.done", key)

    def put_new(self, key: str, data: bytes) -> None:
        """See `Store.put_new`."""
        self._create("put_new", key, data)

    def create(self, key: str, data: bytes) -> None:
        """See `Store.create`."""
        self._create("create", key, data)

    def append_line(self, key: str, text: str) -> None:
        """See `Store.append_line`; a line is an object of its own, named by its time."""
        line = f"{key}/{time.time_ns():020d}-{uuid.uuid4().hex[:8]}"
        self.put_new(line, text.replace("\n", " ").encode())

    def read_lines(self, key: str) -> list[bytes]:
        """See `Store.read_lines`."""
        lines = (self.read_if_exists(line) for line in self.list(key))
        return [line for line in lines if line is not None]

    def delete(self, key: str) -> None:
        """See `Store.delete`."""
        check_key(key, self._root)
        self._before("delete", key)
        with self._reading(key), suppress(FileNotFoundError):
            self._send(lambda: obstore.delete(self._objects, key))

    def list(self, prefix: str) -> Iterator[str]:
        """See `Store.list`."""
        if prefix:
            check_key(prefix, self._root)
        with self._reading(prefix):
            keys = self._send(lambda: _keys(self._objects, prefix))
        yield from sorted(keys)

    def polars_address(self, key: str) -> tuple[str, dict[str, str] | None]:
        """See `Store.polars_address`."""
        check_key(key, self._root)
        options = {"aws_endpoint_url": self._endpoint, "aws_allow_http": str(_is_plain(self._endpoint)).lower()}
        return f"{self._root}/{key}", options if self._endpoint else None

    def require_atomic_create(self) -> None:
        """See `Store.require_atomic_create`: one object is created twice, and the second time must fail."""
        key = new_temporary()
        try:
            self.create(key, b"1")
            self.create(key, b"2")
        except AlreadyExistsError:
            return
        except AccessDeniedError as error:
            raise ConfigError(str(error)) from error
        finally:
            with suppress(ResumableError, ConfigError):
                self.delete(key)
        raise ConfigError(
            f"{self._root}: this store overwrites an object that is to be created only if absent (If-None-Match: *), "
            "so commits could not be trusted there: use one that has conditional writes, or a local disk"
        )

    def _create(self, operation: str, key: str, data: bytes) -> None:
        check_key(key, self._root)
        self._before(f"{operation}.send", key)
        for _ in range(_CREATES):
            try:
                with self._writing(key):
                    self._send(lambda: obstore.put(self._objects, key, data, mode="create", use_multipart=False))
                break
            except AlreadyExistsError:
                found = self.read_if_exists(key)
                if found == data:
                    break
                if found is not None:
                    raise
                # The store says "conflict" while another request is under way, which may yet have come to nothing.
        else:
            raise ResumableError(
                f"{self._root}/{key}: {_CREATES} attempts to create it met others that came to nothing: run the same "
                "command again"
            )
        self._before(f"{operation}.done", key)

    def _send(self, request: Callable[[], Result]) -> Result:
        return persist(request, retry_s=self._retry_s)

    @contextmanager
    def _reading(self, key: str) -> Iterator[None]:
        with self._faults(key):
            try:
                yield
            except FileNotFoundError as error:
                raise ObjectMissingError(f"{self._root}/{key} is missing: restore it, or start anew") from error

    @contextmanager
    def _writing(self, key: str) -> Iterator[None]:
        with self._faults(key):
            try:
                yield
            except FileNotFoundError as error:
                raise ConfigError(f"{self._root}: there is no such bucket: make it, or name another one") from error
            except TakenError as error:
                raise AlreadyExistsError(f"{self._root}/{key} exists already") from error

    @contextmanager
    def _faults(self, key: str) -> Iterator[None]:
        """Turn what the store answers into what the user can do about it."""
        try:
            yield
        except (PermissionDeniedError, UnauthenticatedError) as error:
            raise AccessDeniedError(
                f"{self._root}/{key}: the store refuses these credentials ({_first_line(error)}): set those that may "
                "read, write and delete there, and run the same command again"
            ) from error
        except BaseError as error:
            if any(word in str(error) for word in _FULL):
                raise StorageFullError(
                    f"{self._root}/{key}: no room left ({_first_line(error)}); nothing of it was committed: free space "
                    "and run the same command again"
                ) from error
            raise ResumableError(
                f"{self._root}/{key}: the store failed ({_first_line(error)}): mend its cause and run the same command "
                "again"
            ) from error


class _Reader(io.RawIOBase):
    """An object, read in ranges; each range is a request that is tried again by itself."""

    def __init__(self, store: ObjectStore, key: str) -> None:
        self._store = store
        self._key = key
        self._size = int(store._send(lambda: obstore.head(store._objects, key))["size"])
        self._place = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        self._place = max(0, start + offset)
        return self._place

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        length = min(len(buffer), self._size - self._place)
        if length <= 0:
            return 0
        with self._store._reading(self._key):
            found = self._store._send(
                lambda: obstore.get_range(self._store._objects, self._key, start=self._place, length=length)
            )
        buffer[:length] = memoryview(found)
        self._place += length
        return length


def _endpoint(url: str) -> str:
    """Where the environment says that S3 is; empty for AWS itself and for other stores."""
    if not url.startswith("s3://"):
        return ""
    return next((os.environ[name] for name in _ENDPOINTS if os.environ.get(name)), "")


def _is_plain(endpoint: str) -> bool:
    """Whether an endpoint is named without TLS: who does that means it."""
    return endpoint.startswith("http://")


def _keys(objects: Any, prefix: str) -> list[str]:
    return [entry["path"] for batch in obstore.list(objects, prefix or None) for entry in batch]


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
