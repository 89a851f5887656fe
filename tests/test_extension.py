"""A kernel is used where it was built, and is missed without an error where it was not."""

import ctypes
import importlib.machinery

import pytest

from rsir_scale.errors import ConfigError
from rsir_scale.extension import Kernel, _names


def _kernel(module: str, **functions: tuple) -> Kernel:
    return Kernel(module, title="abacus", instead="fingers", nth_name="nth", functions=functions)


def test_a_kernel_that_was_not_built_has_no_instructions_and_says_what_else_there_is() -> None:
    kernel = _kernel("rsir_scale._never_built")
    assert kernel.instructions() == ()
    assert not kernel.takes()
    with pytest.raises(
        ConfigError, match=r"compiled abacus cannot use any instructions here .found: none.*use fingers"
    ):
        kernel.open()


def test_names_are_asked_for_until_there_is_none() -> None:
    known = [b"best", b"good", None, b"never asked for"]
    assert _names(known.__getitem__) == ("best", "good")
    assert _names(lambda _: None) == ()


class _Library:
    """Stands for a shared library: functions as ctypes gives them, with types to be set."""

    class Function:
        def __init__(self, answers: list[bytes | None]) -> None:
            self.answers = answers

        def __call__(self, n: int) -> bytes | None:
            return self.answers[n]

    def __init__(self, _path: str) -> None:
        self.nth = self.Function([b"abacus-2", b"abacus-1", None])
        self.add = self.Function([])


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    spec = importlib.machinery.ModuleSpec("anything", None, origin="anything.so")
    monkeypatch.setattr("importlib.util.find_spec", lambda _: spec)
    monkeypatch.setattr(ctypes, "CDLL", _Library)
    return _kernel("anything", add=(ctypes.c_int32, (ctypes.c_int64,)))


def test_the_best_instructions_are_used_unless_others_are_named(built: Kernel) -> None:
    assert built.instructions() == ("abacus-2", "abacus-1")
    assert built.open()[1] == "abacus-2"
    assert built.open("abacus-1")[1] == "abacus-1"
    with pytest.raises(ConfigError, match=r"cannot use abacus-3 here .found: abacus-2, abacus-1"):
        built.open("abacus-3")


def test_the_functions_are_handed_out_with_their_types(built: Kernel) -> None:
    library, _ = built.open()
    assert (library.add.restype, library.add.argtypes) == (ctypes.c_int32, (ctypes.c_int64,))
    assert (library.nth.restype, library.nth.argtypes) == (ctypes.c_char_p, (ctypes.c_int64,))
