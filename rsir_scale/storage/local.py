"""A store in a folder of a file system that has hard links.

`create` is temp file, fsync, `os.link`, fsync of the folder; `put` renames a temp file over the old one.
"""

import errno
import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from rsir_scale.errors import ConfigError, IntegrityError, ResumableError, StorageFullError
from rsir_scale.storage.base import AlreadyExistsError, Hook, ObjectMissingError, check_key, no_hook, temporary_name

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})


class LocalStore:
    """A folder on a file system that has hard links."""

    def __init__(self, root: Path, *, before: Hook | None = None) -> None:
        self._root = root.resolve()
        self._before: Hook = before or no_hook

    @property
    def root(self) -> str:
        """The folder's absolute path."""
        return str(self._root)

    def read(self, key: str) -> bytes:
        """See `Store.read`."""
        with self.open_read(key) as reader:
            return reader.read()

    def read_if_exists(self, key: str) -> bytes | None:
        """See `Store.read_if_exists`."""
        try:
            return self.read(key)
        except ObjectMissingError:
            return None

    def open_read(self, key: str) -> BinaryIO:
        """See `Store.open_read`."""
        with _faults(key):
            self._before("read", key)
            try:
                file = _Reader(self.local_path(key), key)
            except (FileNotFoundError, NotADirectoryError) as error:
                raise ObjectMissingError(f"{self.root}/{key} is missing: restore it, or start anew") from error
            except IsADirectoryError as error:
                raise self._no_file(key) from error
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            file.close()
            raise self._no_file(key)
        return io.BufferedReader(file)

    def exists(self, key: str) -> bool:
        """See `Store.exists`."""
        with _faults(key):
            self._before("exists", key)
            path = self.local_path(key)
            if path.exists() and not path.is_file():
                raise self._no_file(key)
            return path.is_file()

    def put(self, key: str, data: bytes) -> None:
        """See `Store.put`."""
        path = self.local_path(key)
        with _faults(key), self._temporary("put", key, data) as temporary:
            self._before("put.replace", key)
            temporary.replace(path)
            self._before("put.sync_folder", key)
            _sync_folder(path.parent)
        self._before("put.done", key)

    def put_new(self, key: str, data: bytes) -> None:
        """See `Store.put_new`."""
        path = self.local_path(key)
        with _faults(key):
            _make_folder(path.parent)
            self._before("put_new.write", key)
            try:
                self._write(path, data, step="put_new.sync", key=key)
            except FileExistsError as error:
                raise AlreadyExistsError(f"{self.root}/{key} exists already") from error
            except OSError:
                # A part of an object that no record will name is of no use to anyone, and fills the disk further.
                path.unlink(missing_ok=True)
                raise
            self._before("put_new.sync_folder", key)
            _sync_folder(path.parent)
        self._before("put_new.done", key)

    def create(self, key: str, data: bytes) -> None:
        """See `Store.create`."""
        path = self.local_path(key)
        with _faults(key), self._temporary("create", key, data) as temporary:
            self._before("create.link", key)
            try:
                path.hardlink_to(temporary)
            except FileExistsError as error:
                # A network file system may lose the answer to a link that it made: then the temporary has two names.
                if temporary.stat().st_nlink < 2:
                    raise AlreadyExistsError(f"{self.root}/{key} exists already") from error
            except OSError as error:
                if error.errno in _NO_LINKS:
                    raise ConfigError(
                        f"{self.root}: this file system refuses hard links ({error}), so nothing can be created "
                        "atomically: put the run directory on another file system"
                    ) from error
                raise
            self._before("create.sync_folder", key)
            _sync_folder(path.parent)
            self._before("create.unlink", key)
        self._before("create.done", key)

    def append_line(self, key: str, text: str) -> None:
        """See `Store.append_line`; an end that a crash tore is closed first, so that only the torn line is lost."""
        path = self.local_path(key)
        with _faults(key):
            self._before("append_line", key)
            _make_folder(path.parent)
            with path.open("ab+") as log:
                torn = log.tell() > 0 and (log.seek(-1, os.SEEK_END), log.read(1))[1] != b"\n"
                log.write(b"\n" * torn + text.replace("\n", " ").encode() + b"\n")

    def read_lines(self, key: str) -> list[bytes]:
        """See `Store.read_lines`."""
        return (self.read_if_exists(key) or b"").splitlines()

    def delete(self, key: str) -> None:
        """See `Store.delete`."""
        with _faults(key), suppress(FileNotFoundError, NotADirectoryError):
            self._before("delete", key)
            self.local_path(key).unlink()

    def list(self, prefix: str) -> Iterator[str]:
        """See `Store.list`; symbolic links are named but not followed."""
        start = self.local_path(prefix) if prefix else self._root
        for folder, folders, names in os.walk(start):
            folders.sort()
            links = [name for name in folders if Path(folder, name).is_symlink()]
            for name in sorted(names + links):
                yield Path(folder, name).relative_to(self._root).as_posix()

    def polars_address(self, key: str) -> tuple[str, dict[str, str] | None]:
        """See `Store.polars_address`."""
        return str(self.local_path(key)), None

    def require_atomic_create(self) -> None:
        """See `Store.require_atomic_create`: here `create` itself finds out, when it makes its first link."""

    def local_path(self, key: str) -> Path:
        """The file behind a key.

        Raises:
            IntegrityError: the key is malformed, or a symbolic link leads out of the root.
        """
        path = self._root.joinpath(*check_key(key, self.root))
        try:
            inside = path.resolve().is_relative_to(self._root)
        except RuntimeError as error:
            raise IntegrityError(f"{path} is a symbolic link to itself: restore the file that was there") from error
        if not inside:
            raise IntegrityError(f"{path} leads out of {self.root} by a symbolic link: replace it by the file itself")
        return path

    def _no_file(self, key: str) -> IntegrityError:
        return IntegrityError(f"{self.root}/{key} is a folder, a pipe or a device: restore the file that was there")

    @contextmanager
    def _temporary(self, operation: str, key: str, data: bytes) -> Iterator[Path]:
        path = self.local_path(key)
        _make_folder(path.parent)
        temporary = path.with_name(temporary_name())
        self._before(f"{operation}.write", key)
        try:
            self._write(temporary, data, step=f"{operation}.sync", key=key)
            yield temporary
        finally:
            temporary.unlink(missing_ok=True)

    def _write(self, path: Path, data: bytes, *, step: str, key: str) -> None:
        with path.open("xb") as file:
            file.write(data)
            file.flush()
            self._before(step, key)
            os.fsync(file.fileno())


class _Reader(io.FileIO):
    """A file whose disk may fail while it is read."""

    def __init__(self, path: Path, key: str) -> None:
        # A pipe would be waited for until somebody writes to it.
        super().__init__(path, opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))
        self._key = key

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        with _faults(self._key):
            return super().readinto(buffer)

    def readall(self) -> bytes:
        with _faults(self._key):
            return super().readall()


@contextmanager
def _faults(key: str) -> Iterator[None]:
    """Turn what the operating system reports into what the user can do about it."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StorageFullError(
                f"{key}: no room left ({error}); nothing of it was committed: free space and run the same command again"
            ) from error
        raise ResumableError(
            f"{key}: the store failed ({error}): mend its cause and run the same command again"
        ) from error


def _make_folder(folder: Path) -> None:
    missing = []
    while not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for new in reversed(missing):
        new.mkdir(exist_ok=True)
        _sync_folder(new.parent)


def _sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a loss of power; file data is synced by its own descriptor."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
