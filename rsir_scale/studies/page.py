"""A study's report as one HTML file that needs no network: verdict on top, tables below.

Comes in: what `report.report_of` returns. Goes out: text of a page, for light and dark screens, phones and paper. Every
value is escaped: names of arms and datasets are their author's.
"""

from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

_NAME = "page.html.j2"


def page_of(report: Mapping[str, Any]) -> str:
    """Render a report."""
    environment = Environment(
        loader=PackageLoader("rsir_scale.studies", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": _number, "difference": _difference, "percent": _percent}
    return environment.get_template(_NAME).render(report=report, name=f"test/{report['metric']}")


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:,.4g}"


def _percent(entry: Mapping[str, Any] | None) -> str:
    """A difference as per cent of what it is set against."""
    if not entry or not entry.get("percent"):
        return "–"
    mean, low, high = entry["percent"]
    return f"{mean:+.1f} % [{low:+.1f}, {high:+.1f}]"


def _difference(entry: Mapping[str, Any] | None) -> str:
    if not entry or "mean" not in entry:
        return "–"
    return f"{entry['mean']:+.4f} [{entry['low']:+.4f}, {entry['high']:+.4f}]"
