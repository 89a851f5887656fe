"""What a page is made of, whatever it is about: sections of tables, figures and example sequences.

Comes in: facts. Goes out: frozen pieces that `page.render` lays out. A run's page, a study's and a comparison share
these pieces, so each of them is a list of sections and nothing else. Cells are texts or numbers, written by `cell`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Cell = str | int | float | bool | None
Tone = Literal["good", "bad", "open", "warning"]
NOTHING = "–"


@dataclass(frozen=True)
class Table:
    """Rows of cells; the first column names a row. `folded`: shown on request, for what few people read."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    folded: bool = False


@dataclass(frozen=True)
class Figure:
    """A Plotly figure as its JSON, and what it shows in words, for those who do not see it."""

    name: str
    title: str
    data: tuple[Mapping[str, Any], ...]
    layout: Mapping[str, Any]
    words: str


@dataclass(frozen=True)
class Item:
    """An item of an example: what it is called, where it comes from, and why it was accepted."""

    name: str
    kind: Literal["start", "own", "new", "source"]
    reason: str = ""


@dataclass(frozen=True)
class Example:
    """A synthetic sequence beside its source."""

    title: str
    source: tuple[Item, ...]
    written: tuple[Item, ...]


Block = Table | Figure | Example


@dataclass(frozen=True)
class Section:
    """A heading, what to know before reading on, and what stands below."""

    title: str
    words: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Claim:
    """A sentence at the top of a page, and how it is to be taken."""

    text: str
    tone: Tone


@dataclass(frozen=True)
class Page:
    """All of a page. `terms` are keys of the glossary."""

    title: str
    subtitle: str
    claims: tuple[Claim, ...]
    sections: tuple[Section, ...]
    terms: tuple[str, ...]


def cell(value: Cell) -> str:
    """Write a cell: four digits of a fraction, thousands apart, a dash for nothing."""
    if value is None:
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 10_000 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else value


def turned(title: str, names: tuple[str, ...], columns: Mapping[str, Mapping[str, Cell]], **more: Any) -> Table:
    """A table of facts down and `columns` across; a fact that no column has is left out."""
    rows = tuple(
        (name, *(facts.get(name) for facts in columns.values()))
        for name in names
        if any(facts.get(name) is not None for facts in columns.values())
    )
    return Table(title, ("", *columns), rows, **more)
