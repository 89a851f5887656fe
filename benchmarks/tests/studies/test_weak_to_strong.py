"""Teachers of each size for students of each."""

import json
from pathlib import Path

import pytest

from benchmarks.studies import weak_to_strong
from benchmarks.tests.studies.small_study import call, small


def test_a_grid_of_teachers_is_reported_and_drawn(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, found = tmp_path / "out", tmp_path / "grid.json"
    # One size: without a teacher of another run.
    arguments = ["run", "--config", config, "--out", out, "--seeds", "0", "--sizes", "8x1", *small()]
    call(monkeypatch, weak_to_strong.main, *arguments)
    figure = tmp_path / "grid.png"
    made = ["--ranks", tmp_path / "ranks.parquet", "--json", found, "--figure", figure]
    call(monkeypatch, weak_to_strong.main, "report", "--out", out, *made)
    assert {(row["teacher"], row["student"]) for row in json.loads(found.read_text())["rows"]} == {("8x1", "8x1")}
    assert figure.stat().st_size > 1000
    with pytest.raises(SystemExit, match="WIDTHxBLOCKS"):
        weak_to_strong.size_settings("64")
