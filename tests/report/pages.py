"""A page as a browser first sees it: its tags, what it would ask a network for, its text."""

import json
from html.parser import HTMLParser
from typing import Any

_VOID = frozenset({"meta", "link", "br"})


class Seen(HTMLParser):
    """What is in a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.open: list[str] = []
        self.plots: list[str] = []
        self.texts: list[str] = []
        self._data: list[str] = []
        self._figures = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.links += [str(value) for name, value in attrs if name in {"src", "href"}]
        self.plots += [str(values["id"])] if values.get("class") == "plot" else []
        self._figures = values.get("id") == "figures"
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        self._figures = False

    def handle_data(self, data: str) -> None:
        if self._figures:
            self._data.append(data)
        elif self.open[-1:] not in (["script"], ["style"]):
            self.texts.append(data.strip())

    @property
    def figures(self) -> list[dict[str, Any]]:
        """Those that its script draws."""
        return json.loads("".join(self._data) or "[]")
