"""The page of a study says what its report says."""

from pathlib import Path

from rsir_scale.report.blocks import Table
from rsir_scale.report.page import render
from rsir_scale.report.study_page import difference, study_page
from rsir_scale.studies.report import report_of
from tests.report.pages import Seen
from tests.studies.world import copy_of_study


def test_each_arm_has_its_sentence_and_each_warning_stands_beside_them(tmp_path: Path) -> None:
    report = report_of(copy_of_study(tmp_path / "study"))
    page = study_page({**report, "warnings": ["beware"], "without_controls": "no time"})
    texts = [claim.text for claim in page.claims]
    assert texts[:2] == [arm["sentence"] for arm in report["arms"] if arm["control"] is None]
    assert texts[-2:] == ["beware", "Controls are missing: no time"]
    seen = Seen(render(page))
    assert all(text in seen.texts for text in texts)


def test_a_table_names_the_dataset_where_there_are_several(tmp_path: Path) -> None:
    report = report_of(copy_of_study(tmp_path / "study"))
    for choice, expected in ((report["choice"], False), (report["choice"] | {"other": "base"}, True)):
        tables = [
            block
            for section in study_page({**report, "choice": choice}).sections
            for block in section.blocks
            if isinstance(block, Table)
        ]
        assert {"dataset" in table.columns for table in tables} == {expected}
        assert all(len(row) == len(table.columns) for table in tables for row in table.rows)


def test_a_group_too_small_for_an_interval_has_a_dash() -> None:
    assert difference({"users": 3}) == "–"
