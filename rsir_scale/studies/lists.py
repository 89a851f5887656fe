"""What the top-n lists of a cell's models are like, kept in the study's folder beside the cell's run.

Comes in: the figures of a finished run's models. Goes out: a small JSON file for each cell, and means over seeds for a
report. A run has no lists of its own, so what a run holds is the same with a study and without one. `making` computes
the figures while the model is at hand; reading them needs no torch.
"""

from collections.abc import Sequence
from typing import Any

from rsir_scale.runs.records import Record
from rsir_scale.storage.base import Store
from rsir_scale.studies.cells import Cell

FOLDER = "lists"


class CellLists(Record):
    """Figures such as `coverage@10` of each iteration's model, theta_0's first."""

    iterations: tuple[dict[str, float], ...]


def has_lists(store: Store, cell: Cell) -> bool:
    """Whether the figures of a cell's lists are kept."""
    return store.exists(_key(cell.key))


def keep_lists(store: Store, key: str, lists: CellLists) -> None:
    """Keep the figures of the cell with this key, in place of earlier ones."""
    store.put(_key(key), lists.to_bytes())


def read_lists(store: Store, cell: Cell) -> CellLists | None:
    """The figures of a cell; None where there are none. Raises IntegrityError."""
    data = store.read_if_exists(_key(cell.key))
    return None if data is None else CellLists.from_bytes(data, f"{store.root}/{_key(cell.key)}")


def compared(ours: Sequence[dict[str, float]], base: Sequence[dict[str, float]]) -> dict[str, dict[str, Any]]:
    """Means over seeds of an arm and of the base, by figure; nothing where no seed has both."""
    names = ours[0].keys() & base[0].keys() if ours else ()
    return {name: {"value": _mean(ours, name), "base": _mean(base, name)} for name in sorted(names)}


def _mean(lists: Sequence[dict[str, float]], name: str) -> float:
    return sum(each[name] for each in lists) / len(lists)


def _key(cell_key: str) -> str:
    return f"{FOLDER}/{cell_key}.json"
