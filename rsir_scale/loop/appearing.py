"""Output that a user asked for appears whole or not at all, and never over something that exists."""

import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from rsir_scale.errors import InputError, StorageFullError
from rsir_scale.storage.opening import usable_path


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
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield staging
        staging.rename(target)
    except (OSError, pl.exceptions.PolarsError) as error:
        # Polars keeps the text of an operating system error, not its number.
        if any(os.strerror(number) in str(error) for number in (errno.ENOSPC, errno.EDQUOT)):
            raise StorageFullError(
                f"the disk of {target} is full, nothing was written: free space, then give the same command"
            ) from error
        raise InputError(f"{target} cannot be written ({error}): choose another --out") from error
    finally:
        if staging.is_dir():
            shutil.rmtree(staging, ignore_errors=True)
        elif staging.exists():
            staging.unlink()
