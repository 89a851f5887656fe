"""What commands print: one JSON object for scripts, or small tables for people."""

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

_ANY_WIDTH = 10_000


def show(facts: Mapping[str, Any], *, as_json: bool) -> None:
    """Print on stdout.

    Args:
        facts: JSON-ready; a list of mappings becomes a table of its own below the others.
        as_json: one JSON object on one line, whole.

    A list of texts within such a mapping has no room in a column: it stands below the table, a line a text.
    """
    if as_json:
        typer.echo(json.dumps(facts, allow_nan=False))
        return
    console = _console()
    console.print(_pairs({name: value for name, value in facts.items() if not _is_rows(value)}))
    for name, value in facts.items():
        if _is_rows(value):
            console.print(_rows(name, value))
            for line in _sentences(value):
                console.print(line, soft_wrap=True)


def show_rows(title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Print rows of equal names below one another on stdout: for more of them than a terminal has columns."""
    table = Table(
        title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, collapse_padding=True
    )
    for name in rows[0] if rows else ():
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(_text(value) for value in row.values()))
    _console().print(table)


def _console() -> Console:
    """The terminal as wide as it is; a file or a pipe, of which nobody knows a width, takes lines as they come."""
    unknown = not sys.stdout.isatty() and "COLUMNS" not in os.environ
    return Console(markup=False, emoji=False, width=_ANY_WIDTH if unknown else None)


def _is_rows(value: object) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(isinstance(row, Mapping) for row in value)


def _pairs(facts: Mapping[str, Any]) -> Table:
    table = Table(show_header=False, box=None)
    for name, value in facts.items():
        table.add_row(name, _text(value))
    return table


def _rows(title: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    """Turn the rows on their side: names down, a column an entry, so that many facts fit a narrow terminal."""
    flat = [_flat(row) for row in rows]
    names = list(dict.fromkeys(name for row in flat for name in row))
    table = Table(title=title, title_justify="left", show_header=False)
    table.add_column()
    for _ in flat:
        table.add_column(justify="right")
    for name in names:
        table.add_row(name, *(_text(row.get(name)) for row in flat))
    return table


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in row.items():
        if not isinstance(value, list | tuple):
            flat |= value if isinstance(value, Mapping) else {name: value}
    return flat


def _sentences(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Each text of the rows' lists, behind what its row is called by: the row's first entry."""
    for row in rows:
        name, number = next(iter(row.items()))
        for texts in row.values():
            if isinstance(texts, list | tuple):
                yield from (f"{name} {_text(number)}: {text}" for text in texts)


def _text(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_text(inner)}" for name, inner in value.items())
    return str(value)
