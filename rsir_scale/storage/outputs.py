"""What a user's command writes to a disk of this machine: errors in words, and no folder left behind by a failure."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import polars as pl

from rsir_scale.errors import InputError, StorageFullError

_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def told(what: str, way_out: str) -> Iterator[None]:
    """Turn what the system says of an output into an error of ours.

    Args:
        what: is written.
        way_out: where it cannot be.

    Raises:
        InputError: it cannot be written.
        StorageFullError: the disk took no more bytes.
    """
    try:
        yield
    except (OSError, pl.exceptions.PolarsError) as error:
        # Polars keeps the text of an operating system error, not its number.
        if any(os.strerror(number) in str(error) for number in _FULL):
            raise StorageFullError(
                f"the disk of {what} is full, nothing was written: free space, or {way_out}, then give the same command"
            ) from error
        raise InputError(f"{what} cannot be written ({error}): {way_out}") from error


@contextmanager
def new_parents(path: Path) -> Iterator[None]:
    """Take away the folders above a path that were made in a block that failed, where they are empty."""
    missing = [folder for folder in path.parents if not folder.exists()]
    try:
        yield
    except BaseException:
        with suppress(OSError):
            for folder in missing:
                folder.rmdir()
        raise
