"""Runs side by side."""

from pathlib import Path

import pytest

from rsir_scale.errors import InputError
from rsir_scale.report import comparison
from rsir_scale.report.blocks import Page, Table
from rsir_scale.report.comparison import comparison_page
from tests.loop.tiny_run import tiny_run
from tests.studies.test_order import cell_named
from tests.studies.world import finished_study


def differences(page: Page) -> list[object]:
    """Those on test of the second run, by metric."""
    accuracy = next(block for block in page.sections[0].blocks if isinstance(block, Table))
    assert [row[4] for row in accuracy.rows[::2]] == [None, None]
    return [row[4] for row in accuracy.rows[1::2]]


def test_a_run_is_set_against_the_first_and_settings_that_differ_are_told() -> None:
    study = finished_study()
    page = comparison_page([tiny_run().store, study.run_store(cell_named(study, "rsir"))])
    assert all(str(text).endswith("]") for text in differences(page))
    rows = {row[0]: row[1:] for row in page.sections[-1].blocks[0].rows}  # type: ignore[union-attr]
    assert rows["model.width"] == ("16", "8")
    assert "data.max_length" not in rows


def test_a_copy_differs_in_nothing(tmp_path: Path) -> None:
    page = comparison_page([tiny_run().store, tiny_run().copy_to(tmp_path / "copy").store])
    assert differences(page) == ["+0.0 % [+0.0, +0.0]"] * 2
    assert page.sections[-1].words == "The runs have the same settings."


def test_runs_of_different_datasets_have_no_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison._Side, "dataset", property(lambda side: side.name))
    page = comparison_page([tiny_run().store, tiny_run().copy_to(tmp_path / "copy").store])
    assert differences(page) == [None, None]
    assert "different datasets" in page.claims[-1].text


@pytest.mark.parametrize("count", [1, 2])
def test_a_run_is_not_compared_with_itself(count: int) -> None:
    with pytest.raises(InputError, match="needs two runs or more, each named once"):
        comparison_page([tiny_run().store] * count)
