"""Output that a user asked for appears whole or not at all, and never over something that exists."""

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rsir_scale.errors import InputError
from rsir_scale.storage.opening import usable_path
from rsir_scale.storage.outputs import new_parents, told


@contextmanager
def appearing(out: str | Path) -> Iterator[Path]:
    """Give a hidden path beside `out`, to be made a file or a folder; it takes that name when the block ends well.

    Raises:
        InputError: `out` exists, or cannot be written.
        ConfigError: it can be no path.
        StorageFullError: the disk took no more bytes; nothing is left behind.
    """
    target = usable_path(out)
    if os.path.lexists(target):
        raise InputError(f"{target} already exists: remove it, or choose another --out")
    staging = target.parent / f".{target.name}.{uuid.uuid4().hex}.partial"
    with new_parents(target), told(str(target), "choose another --out"):
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            yield staging
            staging.rename(target)
        finally:
            if staging.is_dir():
                shutil.rmtree(staging, ignore_errors=True)
            elif staging.exists():
                staging.unlink()
