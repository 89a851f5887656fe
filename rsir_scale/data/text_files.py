"""A text log as bytes: seen to be harmless before anything parses it, and copied where it is packed.

Comes in: a file. Goes out: nothing, or an error that names line and fault. Parsers take a file at its word: they hold
the longest line, unpack whatever a few kilobytes unpack to, and read UTF-16 or NUL as part of an id. So one pass in
blocks, at the speed of a disk, holds the file to what every text format has in common.
"""

import codecs
from collections.abc import Iterator
from pathlib import Path

from rsir_scale.data.packed_files import Member, members, readable
from rsir_scale.errors import InputError

MAX_LINE_BYTES = 4 << 20
# Interaction logs shrink 3 to 30 times, and at most about 1000 times is possible.
MAX_RATIO = 200
FREE_BYTES = 64 << 20
_BLOCK_BYTES = 1 << 20
_FOREIGN = {
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
    b"PAR1": "Parquet",
    b"7z\xbc\xaf": "a 7z archive",
    b"Rar!": "a RAR archive",
    # Polars takes these for zlib, and unpacks them.
    b"x\x01": "compressed with zlib",
    b"x^": "compressed with zlib",
    b"x\x9c": "compressed with zlib",
    b"x\xda": "compressed with zlib",
    # Twice packed, or in a text reader that unpacks nothing.
    b"\x1f\x8b": "compressed with gzip",
    b"\x28\xb5\x2f\xfd": "compressed with zstd",
    b"BZh": "compressed with bzip2",
    b"\xfd7zXZ": "compressed with xz",
    b"PK\x03\x04": "a ZIP archive",
}


def check_text(path: Path) -> None:
    """See that a plain file is whole UTF-8 text in lines of at most `MAX_LINE_BYTES`.

    Raises:
        InputError: it is not.
    """
    (member, *_) = members(path, str(path))
    if member.packed:
        raise InputError(f"{path} is packed ({member.kind}): unpack it first")
    for _ in _checked(_blocks(member), str(path)):
        pass


def copied(member: Member, target: Path, *, text: bool) -> None:
    """Unpack a member to a new file; text is checked on its way, so that a bomb ends early.

    Raises:
        InputError: it is broken, unpacks to more than `MAX_RATIO` times its size, or is not text where text is wanted.
    """
    blocks = _blocks(member)
    with target.open("wb") as file:
        for block in _checked(blocks, member.name) if text else blocks:
            file.write(block)


def _checked(blocks: Iterator[bytes], name: str) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder("utf-8")()
    lines, carried, returns = 1, 0, False
    for number, block in enumerate(blocks):
        if number == 0:
            _refuse_foreign(name, block)
        _refuse_nul(name, block, lines)
        try:
            decoder.decode(block)
        except UnicodeDecodeError as error:
            raise _no_utf8(name, lines + block.count(b"\n", 0, error.start), block[error.start :]) from error
        end = block.find(b"\n")
        if carried + (len(block) if end < 0 else end) > MAX_LINE_BYTES:
            raise InputError(
                f"{name}, line {lines} is longer than {MAX_LINE_BYTES} bytes: an interaction is shorter, so check "
                "--format, and that lines end in LF or CR LF"
            )
        carried = carried + len(block) if end < 0 else len(block) - 1 - block.rfind(b"\n")
        lines += block.count(b"\n")
        returns = returns or b"\r" in block
        yield block
    try:
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise _no_utf8(name, lines, error.object) from error
    if returns and lines == 1:
        raise InputError(f"{name} has no line feed, but carriage returns: convert its line ends to LF or CR LF")


def _refuse_foreign(name: str, block: bytes) -> None:
    kind = next((kind for magic, kind in _FOREIGN.items() if block.startswith(magic)), None)
    if kind is not None:
        raise InputError(
            f"{name} is {kind}: give the log as UTF-8 text, plain or in gzip, zstd, bzip2, xz or ZIP (--format "
            "parquet: Parquet)"
        )


def _refuse_nul(name: str, block: bytes, lines: int) -> None:
    place = block.find(b"\0")
    if place >= 0:
        line = lines + block.count(b"\n", 0, place)
        raise InputError(
            f"{name}, line {line} holds NUL (a zero byte), so it is not text: convert it, if it is UTF-16, or check "
            "--format"
        )


def _no_utf8(name: str, line: int, rest: bytes) -> InputError:
    return InputError(
        f"{name}, line {line}: byte {rest[:1]!r} is no UTF-8: convert the file (`iconv -f LATIN1 -t UTF-8`, if it is "
        "Latin-1), or check --format"
    )


def _blocks(member: Member) -> Iterator[bytes]:
    """The bytes in blocks; a packed file is held to its own checksums and to `MAX_RATIO`."""
    allowed = max(FREE_BYTES, MAX_RATIO * member.size) if member.packed else None
    unpacked = 0
    with readable(member), member.open() as file:
        while block := file.read(_BLOCK_BYTES):
            unpacked += len(block)
            if allowed is not None and unpacked > allowed:
                raise InputError(
                    f"{member.name} unpacks to more than {allowed} bytes, {MAX_RATIO} times its size or more, which no "
                    "log does: unpack it, and look at it, if it is to be trusted"
                )
            yield block
