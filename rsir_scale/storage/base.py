"""What a store of objects must be able to do: the few operations that every object store can keep.

The commit protocol needs three kinds of write and no more: an attempt-named object that nobody reads before a record
names it (`put_new`), a record that is created only if absent (`create`: the moment something counts), and mutable state
that is replaced whole (`put`). Nothing is renamed by callers and no reader lists. Whatever returns normally is durable.
Tests crash the protocol at each step through the one hook `before(step, key)`.
"""

import hashlib
import os
import re
import uuid
from collections.abc import Callable, Iterator
from typing import BinaryIO, Protocol

from rsir_scale.errors import IntegrityError, RsirError, shown

Hook = Callable[[str, str], None]
_BLOCK_BYTES = 1 << 20
_TEMPORARY = re.compile(r"(^|/)\.tmp-[0-9a-f]{32}$")


class AlreadyExistsError(RsirError):
    """An object that must be created is there already; the caller decides what that means."""


class ObjectMissingError(IntegrityError):
    """An object that must be there is not."""


class Store(Protocol):
    """Objects under a root; keys are relative, separated by `/`, and never leave the root.

    Every method raises IntegrityError for a key that would leave the root, StorageFullError when the store takes no
    more bytes (nothing of the object is then visible), and ResumableError when the store fails otherwise.
    """

    @property
    def root(self) -> str:
        """The root's own address, for messages."""

    def read(self, key: str) -> bytes:
        """The whole object. Raises ObjectMissingError."""

    def read_if_exists(self, key: str) -> bytes | None:
        """The whole object, or None where there is none."""

    def open_read(self, key: str) -> BinaryIO:
        """A seekable reader, for Parquet and for hashing. Raises ObjectMissingError."""

    def exists(self, key: str) -> bool:
        """Whether the object is there."""

    def put(self, key: str, data: bytes) -> None:
        """Replace or create the object; a reader sees the old bytes or the new ones, never a mixture."""

    def put_new(self, key: str, data: bytes) -> None:
        """Write an attempt-named object; it may be seen incomplete until this returns. Raises AlreadyExistsError."""

    def create(self, key: str, data: bytes) -> None:
        """Create the object whole and only if absent; one of several contenders wins. Raises AlreadyExistsError."""

    def append_line(self, key: str, text: str) -> None:
        """Add one line to a log that may lose its end in a crash."""

    def read_lines(self, key: str) -> list[bytes]:
        """The lines of such a log, oldest first; none where there is no log."""

    def delete(self, key: str) -> None:
        """Remove the object if it is there."""

    def list(self, prefix: str) -> Iterator[str]:
        """Keys under a folder, sorted, leftovers included; to remove or to show: what counts is never found so."""

    def polars_address(self, key: str) -> tuple[str, dict[str, str] | None]:
        """Where Polars finds the object, and with which `storage_options`."""

    def require_atomic_create(self) -> None:
        """Return if `create` can be trusted here. Raises ConfigError, naming the store."""


def check_key(key: str, root: str) -> list[str]:
    """The names that a key is made of. Raises IntegrityError for one that is malformed or would leave the root."""
    parts = key.split("/")
    if any(part in ("", ".", "..") for part in parts) or re.search(r"[\\\0]", key):
        raise IntegrityError(
            f"key {shown(key)} is no path inside {root}, as names joined by single slashes are: restore the record "
            "that names it"
        )
    return parts


def temporary_name() -> str:
    """A name for what a store makes and removes again; a process that is killed meanwhile leaves it."""
    return f".tmp-{uuid.uuid4().hex}"


def is_temporary(key: str) -> bool:
    """Whether the last name of a key is such a name."""
    return _TEMPORARY.search(key) is not None


def sha256_of(store: Store, key: str) -> tuple[str, int]:
    """Hash an object block by block; returns the hexadecimal digest and the size in bytes."""
    hasher, size = hashlib.sha256(), 0
    with store.open_read(key) as reader:
        while block := reader.read(_BLOCK_BYTES):
            hasher.update(block)
            size += len(block)
    return hasher.hexdigest(), size


def size_of(store: Store, key: str) -> int:
    """Bytes of an object; 0 where it is gone meanwhile."""
    try:
        with store.open_read(key) as reader:
            return reader.seek(0, os.SEEK_END)
    except ObjectMissingError:
        return 0


def no_hook(step: str, key: str) -> None:
    """Do nothing: the hook of a store that is under no test."""
