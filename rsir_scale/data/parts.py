"""From what a user names to the plain files of a log: one file, a folder, a pattern, an archive, or an address.

Comes in: a path, a glob or an address (s3://…). Goes out: `Part`s on this machine, in the order of their names; what
is packed or lies elsewhere is copied to a scratch folder block by block. Folders called `name=value`, as Spark writes
them, become columns. What a packed file unpacks to is held to `text_files.MAX_RATIO`, and text is checked on its way.
"""

import glob
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

from rsir_scale.data.asked import Part
from rsir_scale.data.packed_files import Member, members
from rsir_scale.data.text_files import check_text, copied
from rsir_scale.errors import InputError, shown
from rsir_scale.storage.opening import is_address, open_store, usable_path

_PARTITION = re.compile(r"([^=/]+)=([^/]*)")
_GIVEN = (("train", "training"), ("valid", "validation", "val", "dev"), ("test",))
_BLOCK_BYTES = 1 << 22


def parts_of(source: str | Path, scratch: Path, *, text: bool, given: bool = False) -> tuple[Part, ...]:
    """Find the files of a log, and unpack them where they are packed.

    Args:
        source: a file, a folder, a glob, or an address of an object or of a prefix.
        scratch: an existing folder, for what is unpacked or fetched; it must outlive the parts.
        text: whether they are text, which is then checked.
        given: whether there is a file each for training, validation and test, told by its name.

    Raises:
        InputError: there is nothing, nothing readable, or no text where text is wanted.
    """
    found = _fetched(str(source), scratch) if is_address(source) else _named(source)
    parts: list[Part] = []
    for part in found:
        try:
            unpacked = [_plain(part, member, scratch, text, len(parts) + n) for n, member in enumerate(_of(part))]
        except OSError as error:
            raise InputError(f"{part.name} cannot be read ({error}): name a file that you may read") from error
        parts.extend(unpacked)
    if not parts:
        raise InputError(f"{source} holds no file of a log: name another one")
    return tuple(_as_given(parts, str(source))) if given else tuple(parts)


def _of(part: Part) -> list[Member]:
    return members(part.path, part.name)


def _plain(part: Part, member: Member, scratch: Path, text: bool, number: int) -> Part:
    if not member.packed:
        if text:
            check_text(part.path)
        return part
    suffix = Path(member.name).suffix
    target = scratch / f"unpacked-{number:05d}{suffix}"
    copied(member, target, text=text)
    return replace(part, path=target, name=member.name)


def _named(source: str | Path) -> list[Part]:
    usable_path(source)
    path = Path(source)
    if not path.exists():
        matches = sorted(glob.glob(str(path), recursive=True)) if glob.has_magic(str(path)) else []
        if not matches:
            raise InputError(f"{path} does not exist: name the file of an interaction log, a folder of files or a glob")
        return [part for match in matches for part in _named(match)]
    if path.is_dir():
        found = [_part(file, path) for file in _files(path)]
        if not found:
            raise InputError(f"{path} is a folder without a file of a log: name another one")
        return found
    if not path.is_file():
        raise InputError(f"{path} is a pipe or a device, and a log is read more than once: write it to a file first")
    return [Part(path, str(path))]


def _files(folder: Path) -> Iterator[Path]:
    """The files below a folder in the order of their names; those that Spark and others hide are no parts."""
    for child in sorted(folder.iterdir()):
        if child.name.startswith(("_", ".")):
            continue
        if child.is_dir():
            yield from _files(child)
        elif child.is_file():
            yield child


def _part(file: Path, root: Path) -> Part:
    return Part(file, str(file), _constants(str(file.parent.relative_to(root.parent))))


def _constants(folders: str) -> dict[str, str]:
    return {name: unquote(value) for name, value in _PARTITION.findall(folders)}


def _fetched(address: str, scratch: Path) -> list[Part]:
    """Copy the object at an address, or all below it, to this machine."""
    parent, _, name = address.rstrip("/").rpartition("/")
    whole = not parent.endswith("/")
    above = open_store(parent) if whole else None
    if above is not None and above.exists(name):
        keys, store, root = [name], above, parent
    else:
        store, root = open_store(address.rstrip("/")), address.rstrip("/")
        keys = [key for key in store.list("") if not any(part.startswith(("_", ".")) for part in key.split("/"))]
    if not keys:
        raise InputError(f"{shown(address)} holds no object of a log: name one, or a prefix of several")
    parts = []
    for number, key in enumerate(keys):
        target = scratch / f"fetched-{number:05d}{Path(key).suffix}"
        with store.open_read(key) as reader, target.open("wb") as writer:
            while block := reader.read(_BLOCK_BYTES):
                writer.write(block)
        parts.append(Part(target, f"{root}/{key}", _constants(key)))
    return parts


def _as_given(parts: list[Part], source: str) -> list[Part]:
    labelled = [replace(part, given=_label(part)) for part in parts]
    labels = {part.given for part in labelled}
    if labels != {0, 1, 2}:
        raise InputError(
            f"{source}: --split given wants a file each for training, validation and test, whose names hold the "
            f"words train, valid and test; found {', '.join(shown(Path(part.name).name) for part in parts[:9])}"
        )
    return sorted(labelled, key=lambda part: part.given)


def _label(part: Part) -> int:
    words = re.split(r"[^a-z]+", Path(part.name).name.lower())
    for label, names in enumerate(_GIVEN):
        if any(word in names for word in words):
            return label
    return -1
