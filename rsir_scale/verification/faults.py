"""What a verification has found so far: faults by file and row, and which files are to blame for something already."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from rsir_scale.errors import IntegrityError

Value = TypeVar("Value")


@dataclass(frozen=True)
class Fault:
    """One thing that is not as recorded; `row` is a sequence_id, None where it is the file as a whole."""

    file: str
    row: int | None
    what: str


@dataclass
class Ledger:
    """Collects faults; `files` counts what was hashed, `damaged` is whether a hashed file is not as recorded."""

    files: int = 0
    damaged: bool = False
    _faults: dict[Fault, None] = field(default_factory=dict)
    _blamed: set[str] = field(default_factory=set)

    def add(self, file: str, what: str, *, row: int | None = None) -> None:
        """Record a fault, once."""
        self._faults[Fault(file, row, what)] = None
        if row is None:
            self._blamed.add(file)

    def guard(self, file: str, call: Callable[[], Value]) -> Value | None:
        """Return what `call` returns; an IntegrityError becomes a fault of `file`, and None."""
        try:
            return call()
        except IntegrityError as error:
            self.add(file, str(error))
            return None

    def blames(self, file: str) -> bool:
        """Whether the file as a whole was found at fault, so that nothing in it can be believed."""
        return file in self._blamed

    def sorted_faults(self) -> list[Fault]:
        """All faults by file, whole files before their rows."""
        return sorted(self._faults, key=lambda fault: (fault.file, fault.row is not None, fault.row or 0, fault.what))
