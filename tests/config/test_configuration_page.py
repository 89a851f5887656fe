"""`docs/configuration.md` is the settings as the code has them; running this file prints the page."""

import typing
from collections.abc import Iterator
from pathlib import Path
from types import NoneType, UnionType

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from rsir_scale.config.augmenters import BUILT_IN, augmenter_class
from rsir_scale.config.effect import NO_EFFECT
from rsir_scale.config.file import PRESETS
from rsir_scale.config.settings import Config

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"
HEAD = """# Settings

A run is described by a YAML file of sections, `configs/*.yaml`; `--set section.key=value` overrides it. Unknown keys
are refused. Two keys are presets: `training.preset` and `generation.reading` fill the defaults of other keys, and what
you write wins over them. Keys marked ○ change no result: a run may be resumed with another value. One exception:
`fidelity.mode: auto` times its searches when an iteration begins, for these actors and by this scan.

| key | default | values | meaning |
|---|---|---|---|
"""


AUGMENTERS_HEAD = """
## Options of the augmenters

`augmenter.*` are those of the augmenter that `generation.augmenter` names; {without} none.
"""
OPTIONS_HEAD = """
| augmenter | key | default | values | meaning |
|---|---|---|---|---|
"""
PRESETS_HEAD = """
## What the presets fill in

| preset | key | value |
|---|---|---|
"""


def page() -> str:
    """Render the page from the models."""
    settings = "".join(line for name, field in Config.model_fields.items() for line in _lines(name, field))
    return HEAD + settings + _augmenters() + PRESETS_HEAD + "".join(_preset_lines())


def _augmenters() -> str:
    found = {name: augmenter_class(name) for name in BUILT_IN}
    without = [f"`{name}`" for name, augmenter in found.items() if not augmenter.Options.model_fields]
    have = "has" if len(without) == 1 else "have"
    head = AUGMENTERS_HEAD.format(without=f"{', '.join(without)} {have}")
    options = [
        f"| `{name}` {_line(f'augmenter.{key}', field)}"
        for name, augmenter in found.items()
        for key, field in augmenter.Options.model_fields.items()
    ]
    return head + _table(OPTIONS_HEAD, options)


def _table(head: str, lines: list[str]) -> str:
    return head + "".join(lines) if lines else ""


def _preset_lines() -> Iterator[str]:
    for preset, names in PRESETS.items():
        for name, sections in names.items():
            for section, defaults in sections.items():
                for key, value in defaults.items():
                    yield f"| `{preset}: {name}` | `{section}.{key}` | `{_shown(value)}` |\n"


def _lines(name: str, field: FieldInfo) -> list[str]:
    fields = getattr(field.annotation, "model_fields", None)
    if fields is not None:
        return [_line(f"{name}.{key}", inner) for key, inner in fields.items()]
    return [_line(name, field)]


def _line(key: str, field: FieldInfo) -> str:
    default = "required" if field.default is PydanticUndefined else f"`{_shown(field.default)}`"
    mark = " ○" if key in NO_EFFECT - PRESETS.keys() else ""
    return f"| `{key}`{mark} | {default} | {_values(field.annotation)} | {field.description or ''} |\n"


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(str, value))}]"
    return (
        {None: "none", True: "true", False: "false"}.get(value, str(value))
        if value is None or isinstance(value, bool)
        else str(value)
    )


def _values(annotation: object) -> str:
    origin = typing.get_origin(annotation)
    if origin is typing.Literal:
        return ", ".join(f"`{value}`" for value in typing.get_args(annotation))
    if origin is typing.Annotated:
        return _values(typing.get_args(annotation)[0])
    if origin is dict:
        return "mapping"
    if origin is tuple:
        return f"list of {_values(typing.get_args(annotation)[0])}"
    if origin in (typing.Union, UnionType):
        return " or ".join(_values(part) for part in typing.get_args(annotation))
    return {int: "whole number", float: "number", str: "text", bool: "`true`, `false`", NoneType: "none"}.get(
        annotation, ""
    )  # type: ignore[call-overload]


def test_the_page_lists_every_setting_as_the_code_has_it() -> None:
    assert PAGE.read_text() == page(), (
        "write it again: python tests/config/test_configuration_page.py > docs/configuration.md"
    )


if __name__ == "__main__":
    print(page(), end="")
