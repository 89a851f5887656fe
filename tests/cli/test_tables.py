"""What people read: rows on their side, and sentences whole below them."""

import json

import pytest

from rsir_scale.cli.tables import show

LONG = "fidelity is exact: " + "a sentence that no column of a narrow terminal has room for " * 4
FACTS = {
    "run": "here",
    "iterations": [{"iteration": 0, "rows": 7, "facts": [LONG, "x"]}, {"iteration": 1, "facts": []}],
}


def test_texts_of_a_row_stand_whole_below_the_table_by_the_name_of_their_row(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    show(FACTS, as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2:] == [f"iteration 0: {LONG}", "iteration 0: x"]
    assert not any("facts" in line or "[]" in line for line in lines)
    assert any("rows" in line and "7" in line for line in lines)


def test_a_pipe_gets_lines_as_long_as_they_are(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    show({"digest": "0" * 200}, as_json=False)
    assert "0" * 200 in capsys.readouterr().out


def test_json_has_every_text_in_its_row(capsys: pytest.CaptureFixture[str]) -> None:
    show(FACTS, as_json=True)
    assert json.loads(capsys.readouterr().out) == FACTS
