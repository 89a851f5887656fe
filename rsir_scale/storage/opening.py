"""From an address to the store behind it."""

from pathlib import Path

from rsir_scale.errors import ConfigError, shown
from rsir_scale.storage.base import Hook, Store
from rsir_scale.storage.local import LocalStore

_OBJECT_STORES = ("s3", "gs", "az")


def open_store(url: str | Path, *, before: Hook | None = None) -> Store:
    """Open the store at a local path, `file://`, `s3://`, `gs://` or `az://`; nothing is made before the first write.

    Raises:
        ConfigError: the scheme has no adapter with an atomic create, the address names no bucket, or no file system has
            such a path, or the address holds credentials.
    """
    scheme, separator, rest = str(url).partition("://")
    _refuse_secrets(scheme if separator else "", rest)
    if not separator or scheme == "file":
        return LocalStore(_folder(rest if separator else str(url)), before=before)
    if scheme in _OBJECT_STORES:
        # Only where one is used: the engine needs no object store.
        from rsir_scale.storage.objects import ObjectStore

        return ObjectStore(str(url), before=before)
    raise ConfigError(
        f"{shown(str(url))}: no adapter with an atomic create exists for {scheme}://, so commits could not be "
        f"trusted there: name a local folder, or one of {', '.join(f'{known}://' for known in _OBJECT_STORES)}"
    )


def _refuse_secrets(scheme: str, rest: str) -> None:
    """Addresses are written into records and messages: neither may hold what is secret, and this message does not."""
    if scheme and ("@" in rest.partition("/")[0] or "?" in rest):
        raise ConfigError(
            f"an address {scheme}://… holds '@' before its first '/', or '?': credentials have no place in an address, "
            "which is written into records; set them in the environment (AWS_ACCESS_KEY_ID and the like)"
        )


def usable_path(path: str | Path) -> Path:
    """The absolute path behind a name that a user gave, there or not; links are left alone.

    Raises:
        ConfigError: it is an address, no file system has such a path, or it may not be looked at.
    """
    if is_address(path):
        # As a path, s3://bucket/x is a folder `s3:` of wherever the process stands.
        raise ConfigError(f"{shown(str(path))} is an address, and a path on a disk is wanted: copy from or to there")
    try:
        Path(path).resolve()
        absolute = Path(path).absolute()
        absolute.exists()
    except (OSError, ValueError, RuntimeError) as error:
        raise ConfigError(f"{shown(str(path))} can be no path here ({str(error)[:200]}): name another one") from error
    return absolute


def _folder(path: str) -> Path:
    folder = usable_path(path)
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file, not a folder: name another one")
    return folder


def is_address(path: str | Path) -> bool:
    """Whether it is written as an address and not as a path of this machine."""
    return "://" in str(path)
