"""A page as one HTML file with its styles and scripts, which sends no request; for phones, dark screens and paper.

Comes in: a `blocks.Page`. Goes out: text. Every value is escaped: names of runs, arms and items are their author's. The
page forbids itself the network by its content security policy. Tables hold what figures show, for
readers without scripts.
"""

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from rsir_scale import __version__
from rsir_scale.report.blocks import Figure, Page, cell
from rsir_scale.report.glossary import glossary
from rsir_scale.storage.outputs import told


def render(page: Page) -> str:
    """Lay a page out."""
    environment = Environment(
        loader=PackageLoader("rsir_scale.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"cell": cell, "kind": lambda block: type(block).__name__, "coded": _coded}
    drawn = [block for section in page.sections for block in section.blocks if isinstance(block, Figure)]
    return environment.get_template("page.html.j2").render(
        page=page,
        glossary=glossary(page.terms),
        figures=_script_data([{"name": one.name, "data": one.data, "layout": one.layout} for one in drawn]),
        plotly=Markup(_plotly()) if drawn else "",
        version=__version__,
    )


def write_page(page: Page, path: Path) -> None:
    """Write a page, over one that is there.

    Raises:
        InputError: the file cannot be written.
        StorageFullError: the disk is full.
    """
    text = render(page)
    with told(f"--html {path}", "name another file"):
        path.write_text(text, encoding="utf-8")


def _plotly() -> str:
    """Plotly's own minified script, without the Python part, which takes longer to load than a page to write."""
    return files("plotly").joinpath("package_data", "plotly.min.js").read_text(encoding="utf-8")


def _coded(text: str) -> Markup:
    """Text whose parts between backticks are commands."""
    pieces = text.split("`")
    return Markup("").join(
        Markup("<code>{}</code>").format(piece) if place % 2 else escape(piece) for place, piece in enumerate(pieces)
    )


def _script_data(value: Any) -> Markup:
    """JSON that no text within it can end, whatever it says."""
    text = json.dumps(value, allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)
