"""Compiled parts of the package: built at installation where a C++ compiler is found, and never needed.

Comes in: an extension module's name and the types of its functions. Goes out: a `Kernel`, which says what it can do
here and hands out its functions through ctypes; who asks says what does the work instead. Each kernel is compiled for
several sets of a processor's instructions and chooses at run time. Torch is not loaded here: who has a tensor has it.
"""

import ctypes
import importlib.util
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from rsir_scale.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor


class Kernel:
    """One extension module and the sets of instructions that it has for this processor.

    Args:
        module: its full name.
        title: what it computes, as a refusal says it.
        instead: what does the same without it.
        nth_name: its function that names the n-th set of instructions, best first.
        functions: result type and argument types of its other functions, by name.
    """

    def __init__(
        self,
        module: str,
        *,
        title: str,
        instead: str,
        nth_name: str,
        functions: Mapping[str, tuple[Any, tuple[Any, ...]]],
    ) -> None:
        self._module, self._title, self._instead = module, title, instead
        self._functions = {nth_name: (ctypes.c_char_p, (ctypes.c_int64,)), **functions}
        self._nth_name = nth_name

    @cached_property
    def _library(self) -> ctypes.CDLL | None:
        spec = importlib.util.find_spec(self._module)
        if spec is None or spec.origin is None:
            return None
        library = ctypes.CDLL(spec.origin)
        for name, (result, arguments) in self._functions.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
        return library

    @cached_property
    def _instructions(self) -> tuple[str, ...]:
        return () if self._library is None else _names(getattr(self._library, self._nth_name))

    def instructions(self) -> tuple[str, ...]:
        """Return the sets of instructions that can be used here, best first; empty where the kernel was not built."""
        return self._instructions

    def takes(self, *tensors: "Tensor") -> bool:
        """Whether the kernel was built and reads such tensors: float32 on a CPU."""
        return bool(self._instructions) and all(
            tensor.device.type == "cpu" and str(tensor.dtype) == "torch.float32" for tensor in tensors
        )

    def open(self, using: str | None = None) -> tuple[ctypes.CDLL, str]:
        """Return the functions, and the set of instructions to call them with.

        Args:
            using: one of `instructions()`; None for the best.

        Raises:
            ConfigError: the kernel was not built, or lacks the instructions.
        """
        if self._library is None or not self._instructions or using not in (None, *self._instructions):
            raise ConfigError(
                f"the compiled {self._title} cannot use {using or 'any instructions'} here (found: "
                f"{', '.join(self._instructions) or 'none'}): install a C++ compiler and run "
                f"`pip install --force-reinstall --no-deps .`, or use {self._instead}"
            )
        return self._library, using or self._instructions[0]


def _names(nth_name: Callable[[int], bytes | None]) -> tuple[str, ...]:
    """All names that a compiled function gives: for 0, 1, … until it gives none."""
    names: list[str] = []
    while (name := nth_name(len(names))) is not None:
        names.append(name.decode())
    return tuple(names)
