"""Real data by name: `fetch("ml-100k", DIR)` writes the raw interaction log of MovieLens-100K.

RecBole's wheel ships the file; pip obtains it, so whatever index or proxy pip is set up with is used. Only the one
member is read, nothing is installed. The file counts when its SHA-256 is the known one; one that is there and right is
kept, so a second call needs no network.
"""

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from rsir_scale.errors import InputError, IntegrityError
from rsir_scale.storage.opening import usable_path


@dataclass(frozen=True)
class _Source:
    requirement: str
    member: str
    file_name: str
    sha256: str


_SOURCES = {
    "ml-100k": _Source(
        requirement="recbole==1.2.1",
        member="recbole/dataset_example/ml-100k/ml-100k.inter",
        file_name="ml-100k.inter",
        sha256="4edb74e2a81178c2ba9ff381495f754f996c4aea351b1272ca36b43da0935eff",
    )
}


def fetch(name: str, out: str | Path) -> Path:
    """Put a known log into folder `out` and return its path; read it with the format recbole.

    Raises:
        ConfigError: `out` is an address, or can be no path.
        InputError: an unknown name, a folder that cannot be written, or pip could not obtain the wheel.
        IntegrityError: the file is not the known one.
    """
    if name not in _SOURCES:
        raise InputError(f"dataset {name!r} is unknown: choose one of {', '.join(_SOURCES)}")
    source = _SOURCES[name]
    target = usable_path(out) / source.file_name
    try:
        if target.is_file() and _sha256(target.read_bytes()) == source.sha256:
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        # The download lies beside the target, so that the last step is a rename on one disk.
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".fetch-") as scratch:
            staged = Path(scratch) / source.file_name
            staged.write_bytes(_checked(_download(source, Path(scratch)), source))
            os.replace(staged, target)
    except OSError as error:
        raise InputError(f"{target} cannot be written ({error}): choose another --out") from error
    return target


def _download(source: _Source, folder: Path) -> bytes:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run([*command, "--dest", str(folder), source.requirement], capture_output=True, text=True)
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode or not wheels:
        reason = (done.stderr.strip().splitlines() or ["no wheel came"])[-1]
        raise InputError(
            f"pip could not download {source.requirement} ({reason}): check the network and pip's index settings, "
            f"or put {source.file_name} into the folder yourself"
        )
    try:
        with zipfile.ZipFile(wheels[0]) as wheel:
            return wheel.read(source.member)
    except (zipfile.BadZipFile, KeyError) as error:
        raise IntegrityError(
            f"{wheels[0].name} does not hold {source.member} ({error}): pip's index serves another wheel; "
            "use the public index"
        ) from error


def _checked(content: bytes, source: _Source) -> bytes:
    found = _sha256(content)
    if found != source.sha256:
        raise IntegrityError(
            f"{source.file_name} from {source.requirement} has SHA-256 {found}, not {source.sha256}: pip's index "
            "serves another file; use the public index"
        )
    return content


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
