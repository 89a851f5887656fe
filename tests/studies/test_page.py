from html.parser import HTMLParser
from pathlib import Path

from rsir_scale.studies.page import page_of
from rsir_scale.studies.report import report_of
from tests.studies.world import copy_of_study


class Links(HTMLParser):
    """What a page would ask a network for, and how its tags nest."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [str(value) for name, value in attrs if name in {"src", "href"}]
        if tag not in {"meta", "link", "br"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_a_page_is_whole_needs_no_network_and_has_the_verdict(tmp_path: Path) -> None:
    report = report_of(copy_of_study(tmp_path / "study"))
    page = page_of(report)
    parser = Links()
    parser.feed(page)
    assert (parser.links, parser.open) == ([], [])
    assert all(arm["sentence"].replace("'", "&#39;") in page for arm in report["arms"] if not arm["control"])


def test_what_a_file_names_is_text_on_a_page(tmp_path: Path) -> None:
    report = report_of(copy_of_study(tmp_path / "study"))
    assert "<script>" not in page_of({**report, "warnings": ["<script>"]})
