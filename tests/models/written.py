"""The backbones of docs/backbone.md as modules that `model.backbone` can name: written out, on Python's path."""

import re
import sys
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

PAGE = Path(__file__).parents[2] / "docs" / "backbone.md"
_CLASS = re.compile(r"^class (\w+)\(Backbone\):", re.MULTILINE)


@cache
def written_backbones() -> dict[str, str]:
    """Return the `model.backbone` of each class on the page, by its name."""
    folder = Path(mkdtemp(prefix="rsir-test-"))
    sys.path.append(str(folder))
    found: dict[str, str] = {}
    for block in re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
        (name,) = _CLASS.findall(block)
        module = f"written_{name.lower()}"
        (folder / f"{module}.py").write_text(block, encoding="utf-8")
        found[name] = f"{module}:{name}"
    return found
