"""Is what was installed still there? A copied or damaged .venv has its stamp, and may lack what the stamp stands for.

    python -m devtools.installed record .venv/installed     after an installation
    python -m devtools.installed check .venv/installed      ends with 1 where something is gone, and names it

`record` writes the name of every top-level module that is installed, and of each compiled kernel that was built.
`check` looks for their files and imports none of them, so that every `make` can afford it. A stamp of an earlier
version names nothing: then torch and Ray alone are looked for.
"""

import sys
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

NEEDED = ("ray", "torch")
_SHOWN = 5


def main(arguments: list[str]) -> int:
    """Record or check; returns the exit code."""
    order, stamp = arguments[0], Path(arguments[1])
    if order == "record":
        stamp.write_text("\n".join([*recordable(), ""]))
        return 0
    gone = missing({*NEEDED, *stamp.read_text().split()})
    if gone:
        print(f"{stamp.parent} lacks {', '.join(gone[:_SHOWN])}{' and more' if len(gone) > _SHOWN else ''}")
    return int(bool(gone))


def recordable() -> list[str]:
    """Every top-level module that is installed and every kernel that was built, by name."""
    # Slow to import, and needed once an installation.
    from importlib.metadata import packages_distributions

    from rsir_scale.cli.version import KERNELS

    names = [*packages_distributions(), *(module for module, _ in KERNELS.values())]
    return sorted(set(names) - {*missing(names)})


def missing(names: Iterable[str]) -> list[str]:
    """Which of them have no file to be imported from; a folder without its `__init__.py` is none."""
    return sorted(name for name in names if not _has_file(name))


def _has_file(name: str) -> bool:
    try:
        spec = find_spec(name)
    except (ImportError, ValueError):
        return False
    return spec is not None and spec.origin is not None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
