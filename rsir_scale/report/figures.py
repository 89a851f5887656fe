"""Figures of a page, as the JSON that Plotly draws: lines, points with intervals, bars.

Comes in: named series. Goes out: a `blocks.Figure`. Colours are those of Okabe and Ito, which also tell apart on a dark
screen and for those who do not see all colours; text and lines of the grid take theirs from the page.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rsir_scale.report.blocks import Figure

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f")
_GRID = "rgba(128,128,128,.25)"
_HEIGHT, _ROW_HEIGHT = 320, 34  # pixels; the second of a named row of points
Number = float | int | None


@dataclass(frozen=True)
class Axes:
    """What the axes say; `percent` writes values of the y axis as shares of 100."""

    x: str
    y: str
    whole_x: bool = False
    percent: bool = False


@dataclass(frozen=True)
class Series:
    """Points of one colour; `low` and `high` bound an interval of each."""

    name: str
    x: Sequence[Any]
    y: Sequence[Number]
    low: Sequence[Number] = ()
    high: Sequence[Number] = ()


def lines(name: str, title: str, series: Sequence[Series], axes: Axes) -> Figure:
    """Draw each series as a line through its points, with intervals where it has some."""
    data = [
        {"type": "scatter", "mode": "lines+markers", "name": one.name, "x": list(one.x), "y": list(one.y)}
        | {"line": {"color": _colour(place)}, "marker": {"color": _colour(place), "size": 7}}
        | ({"error_y": _interval(one.y, one)} if one.low else {})
        for place, one in enumerate(series)
    ]
    return _figure(name, title, data, axes)


def bars(name: str, title: str, series: Sequence[Series], axes: Axes, *, stacked: bool = False) -> Figure:
    """Draw each series as bars, side by side or stacked."""
    data = [
        {"type": "bar", "name": one.name, "x": list(one.x), "y": list(one.y), "marker": {"color": _colour(place)}}
        for place, one in enumerate(series)
    ]
    return _figure(name, title, data, axes, barmode="stack" if stacked else "group")


def points(name: str, title: str, series: Sequence[Series], axes: Axes) -> Figure:
    """Draw named rows, the first on top, each a point with its interval along the x axis; `y` of a series are names."""
    data = [
        {"type": "scatter", "mode": "markers", "orientation": "h", "name": one.name, "x": list(one.x), "y": list(one.y)}
        | {"marker": {"color": _colour(place), "size": 9}, "error_x": _interval(one.x, one)}
        for place, one in enumerate(series)
    ]
    rows = len({row for one in series for row in one.y})
    height = 110 + _ROW_HEIGHT * max(1, rows) * max(1, len(series)) ** 0.5
    found = _figure(name, title, data, axes, height=int(height), scattermode="group")
    zero = {"zeroline": True, "zerolinecolor": "#888", "zerolinewidth": 2}
    layout = dict(found.layout)
    layout["xaxis"] = layout["xaxis"] | zero
    layout["yaxis"] = layout["yaxis"] | {"autorange": "reversed", "type": "category"}
    return Figure(found.name, found.title, found.data, layout, found.words)


def _figure(name: str, title: str, data: Sequence[Mapping[str, Any]], axes: Axes, **layout: Any) -> Figure:
    named = ", ".join(str(trace["name"]) for trace in data)
    base = {
        "height": _HEIGHT,
        "margin": {"l": 8, "r": 8, "t": 8, "b": 8},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "system-ui, sans-serif", "size": 13},
        "showlegend": len(data) > 1,
        "legend": {"orientation": "h", "yanchor": "bottom", "y": 1.02, "x": 0, "traceorder": "normal"},
        "xaxis": _axis(axes.x) | ({"dtick": 1} if axes.whole_x else {}),
        "yaxis": _axis(axes.y) | ({"ticksuffix": " %"} if axes.percent else {}),
    }
    return Figure(name, title, tuple(data), base | layout, f"{title}: {axes.y} by {axes.x}; {named}")


def _axis(title: str) -> dict[str, Any]:
    return {"title": {"text": title, "standoff": 14}, "automargin": True, "gridcolor": _GRID, "zerolinecolor": _GRID}


def _interval(values: Sequence[Any], one: Series) -> dict[str, Any]:
    """Distances from the points to their bounds."""
    bounds = list(zip(values, one.low, one.high, strict=True))
    return {
        "type": "data",
        "symmetric": False,
        "array": [None if high is None else high - value for value, _, high in bounds],
        "arrayminus": [None if low is None else value - low for value, low, _ in bounds],
        "thickness": 1.5,
        "width": 4,
    }


def _colour(place: int) -> str:
    return _COLOURS[place % len(_COLOURS)]
