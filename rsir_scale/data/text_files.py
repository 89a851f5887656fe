"""A text log as bytes: opened, plain or gzipped, and seen to be harmless before anything parses it.

Comes in: a file. Goes out: nothing, or an error that names line and fault. Parsers take a file at its word: they hold
the longest line, unpack whatever a few kilobytes unpack to, and read UTF-16 or NUL as part of an id. So one pass in
blocks, at the speed of a disk, holds the file to what every text format has in common.
"""

import codecs
import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from rsir_scale.errors import InputError

MAX_LINE_BYTES = 4 << 20
# Interaction logs shrink 3 to 30 times, and at most about 1000 times is possible.
MAX_RATIO = 200
FREE_BYTES = 64 << 20
_BLOCK_BYTES = 1 << 20
_GZIP = b"\x1f\x8b"
_FOREIGN = {
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
    b"\x28\xb5\x2f\xfd": "compressed with zstd",
    b"BZh": "compressed with bzip2",
    b"\xfd7zXZ": "compressed with xz",
    b"PK\x03\x04": "a ZIP archive",
    b"PAR1": "Parquet",
    # Polars takes these for zlib, and unpacks them.
    b"x\x01": "compressed with zlib",
    b"x^": "compressed with zlib",
    b"x\x9c": "compressed with zlib",
    b"x\xda": "compressed with zlib",
}


def open_log(path: Path) -> BinaryIO:
    """Open a log as plain bytes; whether it is gzipped its first bytes say, as they do for Polars."""
    file = path.open("rb")
    gzipped = file.read(len(_GZIP)) == _GZIP
    file.seek(0)
    return gzip.GzipFile(fileobj=file) if gzipped else file  # type: ignore[return-value]


def check_text(path: Path) -> None:
    """See that a file is whole UTF-8 text in lines of at most `MAX_LINE_BYTES`.

    Raises:
        InputError: it is not; or it is gzipped and broken, or unpacks to more than `MAX_RATIO` times its size.
    """
    with path.open("rb") as raw:
        first = raw.read(8)
    kind = next((kind for magic, kind in _FOREIGN.items() if first.startswith(magic)), None)
    if kind is not None:
        raise InputError(f"{path} is {kind}: give the log as UTF-8 text, plain or gzipped (--format parquet: Parquet)")
    decoder = codecs.getincrementaldecoder("utf-8")()
    lines, carried, returns = 1, 0, False
    for block in _blocks(path):
        _refuse_nul(path, block, lines)
        try:
            decoder.decode(block)
        except UnicodeDecodeError as error:
            raise _no_utf8(path, lines + block.count(b"\n", 0, error.start), block[error.start :]) from error
        end = block.find(b"\n")
        if carried + (len(block) if end < 0 else end) > MAX_LINE_BYTES:
            raise InputError(
                f"{path}, line {lines} is longer than {MAX_LINE_BYTES} bytes: an interaction is shorter, so check "
                "--format, and that lines end in LF or CR LF"
            )
        carried = carried + len(block) if end < 0 else len(block) - 1 - block.rfind(b"\n")
        lines += block.count(b"\n")
        returns = returns or b"\r" in block
    try:
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise _no_utf8(path, lines, error.object) from error
    if returns and lines == 1:
        raise InputError(f"{path} has no line feed, but carriage returns: convert its line ends to LF or CR LF")


def _refuse_nul(path: Path, block: bytes, lines: int) -> None:
    place = block.find(b"\0")
    if place >= 0:
        line = lines + block.count(b"\n", 0, place)
        raise InputError(
            f"{path}, line {line} holds NUL (a zero byte), so it is no text: convert it, if it is UTF-16, or check "
            "--format"
        )


def _no_utf8(path: Path, line: int, rest: bytes) -> InputError:
    return InputError(
        f"{path}, line {line}: byte {rest[:1]!r} is no UTF-8: convert the file (`iconv -f LATIN1 -t UTF-8`, if it is "
        "Latin-1), or check --format"
    )


def _blocks(path: Path) -> Iterator[bytes]:
    """The text in blocks; a gzipped file is held to its own checksums and to `MAX_RATIO`."""
    allowed = max(FREE_BYTES, MAX_RATIO * path.stat().st_size)
    unpacked = 0
    try:
        with open_log(path) as file:
            while block := file.read(_BLOCK_BYTES):
                unpacked += len(block)
                if unpacked > allowed:
                    raise InputError(
                        f"{path} unpacks to more than {allowed} bytes, {MAX_RATIO} times its size or more, which no "
                        "log does: unpack it, and look at it, if it is to be trusted"
                    )
                yield block
    except (EOFError, zlib.error, OSError) as error:
        raise InputError(f"{path} cannot be read to its end ({error}): restore or copy the file again") from error
