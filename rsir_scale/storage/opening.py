"""From an address to the store behind it."""

from pathlib import Path

from rsir_scale.errors import ConfigError
from rsir_scale.storage.base import Hook, Store
from rsir_scale.storage.local import LocalStore

_OBJECT_STORES = ("s3", "gs", "az")


def open_store(url: str | Path, *, before: Hook | None = None) -> Store:
    """Open the store at a local path, `file://`, `s3://`, `gs://` or `az://`; nothing is made before the first write.

    Raises:
        ConfigError: the scheme has no adapter with an atomic create, or the address names no bucket.
    """
    scheme, separator, rest = str(url).partition("://")
    if not separator:
        return LocalStore(Path(url), before=before)
    if scheme == "file":
        return LocalStore(Path(rest), before=before)
    if scheme in _OBJECT_STORES:
        # Only where one is used: the engine needs no object store.
        from rsir_scale.storage.objects import ObjectStore

        return ObjectStore(str(url), before=before)
    raise ConfigError(
        f"{url}: no adapter with an atomic create exists for {scheme}://, so commits could not be trusted there: "
        f"name a folder on a local disk, or one of {', '.join(f'{known}://' for known in _OBJECT_STORES)}"
    )


def is_address(path: str | Path) -> bool:
    """Whether it is written as an address and not as a path of this machine."""
    return "://" in str(path)
