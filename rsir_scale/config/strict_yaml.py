"""YAML of a size, depth and form that settings need, and no more: text in, plain values out.

What YAML has beyond that is refused, as a few hundred bytes of it fill any memory or hide a mistake: aliases, tags, a
key given twice, nesting without end.
"""

from collections.abc import Hashable
from typing import Any

import yaml

from rsir_scale.errors import shown

MAX_BYTES = 1 << 16
_MAX_DEPTH = 20
_REASON_CHARACTERS = 500
_WAY_OUT = "write plain keys and values, as docs/configuration.md and configs/ have them"


class NotYamlError(ValueError):
    """Text is no YAML that settings may be written in; the caller knows where it came from."""


def parse_yaml(text: str) -> Any:
    """The value of one YAML document.

    Raises:
        NotYamlError: with the reason, and where there is one the line.
    """
    if len(text.encode()) > MAX_BYTES:
        raise NotYamlError(f"it is longer than {MAX_BYTES} bytes, which no settings are: leave out what is none")
    try:
        # The loader is a SafeLoader that can do less.
        return yaml.load(text, Loader=_Loader)  # noqa: S506
    except yaml.MarkedYAMLError as error:
        line = "" if error.problem_mark is None else f"line {error.problem_mark.line + 1}: "
        raise NotYamlError(f"{line}{str(error.problem)[:_REASON_CHARACTERS]}; {_WAY_OUT}") from error
    except (yaml.YAMLError, ValueError) as error:
        raise NotYamlError(f"{' '.join(str(error).split())[:_REASON_CHARACTERS]}; {_WAY_OUT}") from error


class _Loader(yaml.SafeLoader):
    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent):
            raise _fault(event, f"{shown(event.anchor)} is an alias, which no setting needs")
        if getattr(event, "tag", None) is not None:
            raise _fault(event, f"{shown(event.tag)} is a tag, which no setting needs")
        if self._depth == _MAX_DEPTH:
            raise _fault(event, f"more than {_MAX_DEPTH} deep, which no setting is")
        self._depth += 1
        node: yaml.Node | None = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[tuple[str, str]] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if (key.tag, key.value) in seen:
                    raise _fault(key, f"the key {shown(key.value)} stands here twice")
                seen.add((key.tag, key.value))
        return super().construct_mapping(node, deep)


def _fault(place: Any, what: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=what, problem_mark=place.start_mark)
