"""Compiled parts of the package: built at installation where a C++ compiler is found, and never needed.

Comes in: the name of an extension module. Goes out: its functions through ctypes, or None; who asks says what does the
work instead. Each set of functions is compiled for several sets of a processor's instructions and chooses at run time.
"""

import ctypes
import importlib.util
from collections.abc import Callable
from functools import cache


@cache
def load_extension(module: str) -> ctypes.CDLL | None:
    """Load an extension module's functions; None where it was not built."""
    spec = importlib.util.find_spec(module)
    return None if spec is None or spec.origin is None else ctypes.CDLL(spec.origin)


def names_of(nth_name: Callable[[int], bytes | None]) -> tuple[str, ...]:
    """All names that a compiled function gives: for 0, 1, … until it gives none."""
    names: list[str] = []
    while (name := nth_name(len(names))) is not None:
        names.append(name.decode())
    return tuple(names)
