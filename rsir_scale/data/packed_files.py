"""What is in a packed file: gzip, zstd, bzip2, xz, or the members of a ZIP archive, by its first bytes.

Comes in: a path. Goes out: `Member`s, each of which opens as a stream of plain bytes. A file that is not packed is its
own only member. Nothing is unpacked here, and no member of an archive can name a place to be written to.
"""

import bz2
import gzip
import io
import lzma
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pyarrow as pa

from rsir_scale.errors import InputError, shown

UNPACKING_ERRORS = (EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, pa.ArrowException, OSError, RuntimeError)
_ZIP = b"PK\x03\x04"


@dataclass(frozen=True)
class Member:
    """A plain file within a packed one.

    Attributes:
        name: what messages call it.
        kind: how it is packed, in words.
        packed: whether it is.
        size: bytes that the packed file has.
        open: a stream of plain bytes.
    """

    name: str
    kind: str
    packed: bool
    size: int
    open: Callable[[], io.BufferedIOBase]


def members(path: Path, name: str) -> list[Member]:
    """The plain files in a file.

    Raises:
        InputError: a ZIP archive that is broken, empty, or holds files of several kinds.
    """
    with path.open("rb") as file:
        first = file.read(8)
    size = path.stat().st_size
    if first.startswith(_ZIP):
        return list(_zipped(path, name, size))
    for magic, (kind, opened) in _STREAMS.items():
        if first.startswith(magic):
            return [Member(name, kind, True, size, lambda opened=opened: opened(path))]  # type: ignore[misc]
    return [Member(name, "plain", False, size, lambda: path.open("rb"))]


@contextmanager
def readable(member: Member) -> Iterator[None]:
    """Turn what an unpacker says into an InputError."""
    try:
        yield
    except UNPACKING_ERRORS as error:
        how = f" as {member.kind}" if member.packed else ""
        raise InputError(
            f"{member.name} cannot be read to its end{how} ({str(error)[:200]}): restore or copy the file again"
        ) from error


def _zstd(path: Path) -> io.BufferedIOBase:
    return cast(io.BufferedIOBase, pa.CompressedInputStream(pa.OSFile(str(path)), "zstd"))


_STREAMS: dict[bytes, tuple[str, Callable[[Path], Any]]] = {
    b"\x1f\x8b": ("gzip", gzip.open),
    b"\x28\xb5\x2f\xfd": ("zstd", _zstd),
    b"BZh": ("bzip2", bz2.open),
    b"\xfd7zXZ": ("xz", lzma.open),
}


def _zipped(path: Path, name: str, size: int) -> Iterator[Member]:
    try:
        with zipfile.ZipFile(path) as archive:
            names = sorted(info.filename for info in archive.infolist() if _is_part(info))
    except (*UNPACKING_ERRORS, NotImplementedError) as error:
        raise InputError(f"{name} cannot be read as a ZIP archive ({error}): restore or copy the file again") from error
    kinds = {Path(inner).suffix for inner in names}
    if len(kinds) != 1:
        raise InputError(
            f"{name} is a ZIP archive of {len(names)} files ({', '.join(map(shown, names[:9]))}), not of parts of one "
            "log: unpack it, and name the file of the interactions"
        )
    for inner in names:
        yield Member(f"{name}/{inner}", "ZIP", True, size, lambda inner=inner: _opened(path, inner))  # type: ignore[misc]


def _opened(path: Path, inner: str) -> io.BufferedIOBase:
    return cast(io.BufferedIOBase, zipfile.ZipFile(path).open(inner))


def _is_part(info: zipfile.ZipInfo) -> bool:
    hidden = any(step.startswith((".", "_")) for step in info.filename.split("/"))
    return not info.is_dir() and not hidden
