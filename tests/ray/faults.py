"""What workers of the test cluster do wrong, when a test asks for it by a file `KIND` in the folder `FOLDER` names.

full        every write of what the file's text names fails as on a full disk
die-once    the next process that writes what the file's text names dies on it, without a word
die-always  every such process dies
"""

import errno
import os
import signal
from pathlib import Path
from typing import Any

from ray.train.torch import TorchConfig

FOLDER = "RSIR_TEST_FAULTS"


def install() -> None:
    """Wrap the store's writes, in every worker process."""
    from rsir_scale.storage.local import LocalStore

    original = LocalStore._write

    def write(self: Any, path: Path, data: bytes, *, step: str, key: str) -> None:
        folder = Path(os.environ[FOLDER])
        for kind in ("full", "die-once", "die-always"):
            order = folder / kind
            if not order.exists() or order.read_text() not in key:
                continue
            if kind == "full":
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if kind == "die-once":
                order.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        original(self, path, data, step=step, key=key)

    LocalStore._write = write  # type: ignore[method-assign]


class Unconnected(TorchConfig):
    """Workers that start and do not find each other."""

    @property
    def backend_cls(self) -> type[Any]:
        return _UnconnectedBackend


class _UnconnectedBackend(TorchConfig().backend_cls):  # type: ignore[misc]
    def on_start(self, worker_group: Any, backend_config: TorchConfig) -> None:
        raise RuntimeError("no worker answers")
