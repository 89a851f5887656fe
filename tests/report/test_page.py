"""Every page: whole, without a request, drawn by figures that Plotly knows, in words that are explained."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from unittest.mock import patch

import plotly.graph_objects as go
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rsir_scale.errors import InputError
from rsir_scale.report.blocks import Claim, Page, Section, Table, cell
from rsir_scale.report.comparison import comparison_page
from rsir_scale.report.figures import Axes, Series, points
from rsir_scale.report.page import render, write_page
from rsir_scale.report.run_page import run_page
from rsir_scale.report.study_page import study_page
from rsir_scale.studies.report import report_of
from tests.loop.tiny_run import tiny_run
from tests.report.pages import Seen
from tests.studies.world import copy_of_study

EMPTY = Page("a page", "of nothing", (), (), ())


def folder() -> Path:
    return Path(mkdtemp(prefix="rsir-test-"))


@cache
def run_text() -> str:
    return render(run_page(tiny_run().store))


@cache
def study_text() -> str:
    return render(study_page(report_of(copy_of_study(folder() / "study"))))


@cache
def comparison_text() -> str:
    return render(comparison_page([tiny_run().store, tiny_run().copy_to(folder() / "other").store]))


@pytest.mark.parametrize("text", [run_text, study_text, comparison_text])
def test_a_page_is_whole_asks_no_network_and_is_drawn_by_figures_that_plotly_knows(text: Callable[[], str]) -> None:
    seen = Seen(text())
    assert seen.open == []
    assert all(link.startswith("#") for link in seen.links)
    assert [figure["name"] for figure in seen.figures] == seen.plots
    assert len(set(seen.plots)) == len(seen.plots) >= 2
    for figure in seen.figures:
        go.Figure(data=figure["data"], layout=figure["layout"])
    assert len(text()) < 6_000_000


@settings(max_examples=20)
@given(st.text(max_size=40))
def test_whatever_a_name_is_it_is_text_on_a_page(name: str) -> None:
    hostile = f"</script><b onclick='x'>{name}"
    figure = points("figure", hostile, [Series(hostile, [0.0], [hostile], [0.0], [1.0])], Axes(hostile, hostile))
    section = Section(hostile, hostile, (Table(hostile, (hostile,), ((hostile,),)), figure))
    with patch("rsir_scale.report.page._plotly", return_value="Plotly"):
        page = render(replace(EMPTY, title=hostile, claims=(Claim(hostile, "open"),), sections=(section,)))
    assert "<b onclick" not in page
    assert Seen(page).figures[0]["data"][0]["name"] == hostile


def test_a_page_without_figures_carries_no_script() -> None:
    assert "<script" not in render(EMPTY)


def test_an_interval_reaches_from_its_point_to_its_bounds() -> None:
    drawn = points("figure", "", [Series("", [2.0], ["arm"], [1.5], [4.0])], Axes("", ""))
    error = drawn.data[0]["error_x"]
    assert (error["array"], error["arrayminus"]) == ([2.0], [0.5])


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (True, "yes"), (12345, "12,345"), (0.0123446, "0.01234"), (123456.7, "123,457"), ("5", "5")],
)
def test_a_cell_says_what_it_holds(value: object, text: str) -> None:
    assert cell(value) == text  # type: ignore[arg-type]


def test_a_page_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="name another file"):
        write_page(EMPTY, tmp_path / "nowhere" / "page.html")
