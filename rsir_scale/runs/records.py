"""What the JSON files of a run have in common: frozen, closed to unknown keys, written canonically, read with care.

Comes in: bytes of a store. Goes out: a validated record, or an error that names the file. Equal records have equal
bytes, so a record may be compared and hashed by its bytes. `FileEntry` is how any record names an object.
"""

import hashlib
import json
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rsir_scale.errors import IntegrityError, first_fault
from rsir_scale.storage.base import Store, sha256_of

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0, lt=2**63)]
FileKind = Literal[
    "part",
    "commit",
    "errors",
    "dropped",
    "plan",
    "weights",
    "model",
    "metrics",
    "ranks",
    "search",
    "clusters",
    "state",
    "prepared",
    "learned",
    "replaced",
]


class Record(BaseModel):
    """A JSON file of a run, or a piece of one."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())

    def to_bytes(self) -> bytes:
        """Canonical JSON: keys sorted, one line, so that equal records have equal bytes."""
        return (json.dumps(self.model_dump(mode="json"), sort_keys=True, allow_nan=False) + "\n").encode()

    @classmethod
    def from_bytes(cls, data: bytes, name: str) -> Self:
        """Parse and validate.

        Raises:
            IntegrityError: the bytes are no JSON or not this record; `name` says where they came from.
        """
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            raise IntegrityError(
                f"{name} is not what a run writes ({first_fault(error)}): restore it, or start again in an empty run "
                "directory"
            ) from error


class FileEntry(Record):
    """One immutable object of a run and what its bytes must be; `rows` where it is a table."""

    key: str
    kind: FileKind
    sha256: Sha256
    bytes: Count
    rows: Count | None = None


def entry_of(store: Store, key: str, kind: FileKind) -> FileEntry:
    """Hash an object that is written already. Raises ObjectMissingError."""
    digest, size = sha256_of(store, key)
    return FileEntry(key=key, kind=kind, sha256=digest, bytes=size)


def read_entry(store: Store, entry: FileEntry, *, way_out: str = "restore it") -> bytes:
    """Read an object whole and hold it to its entry.

    Raises:
        ObjectMissingError: it is missing.
        IntegrityError: its bytes are others; the message ends with the way out.
    """
    data = store.read(entry.key)
    digest = hashlib.sha256(data).hexdigest()
    if digest != entry.sha256:
        raise IntegrityError(
            f"{store.root}/{entry.key} has SHA-256 {digest}, its record says {entry.sha256}: {way_out}"
        )
    return data


def write_entry(store: Store, key: str, kind: FileKind, data: bytes, *, rows: int | None = None) -> FileEntry:
    """Write an attempt-named object and describe it. Raises StorageFullError with nothing left behind."""
    store.put_new(key, data)
    return FileEntry(key=key, kind=kind, sha256=hashlib.sha256(data).hexdigest(), bytes=len(data), rows=rows)
