"""Paired runs resume, share their base, and add up over machines."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.studies import paired_gain
from benchmarks.tests.studies.small_study import SMALL, call, small
from rsir_scale.runs import layout


@pytest.mark.slow
def test_arms_of_a_paired_study_may_be_made_on_several_machines(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, ranks = tmp_path / "gain.json", tmp_path / "ranks.parquet"
    settings = ["--arm", "two:loop.iterations=2", "--arm", "aa", *small()]

    def rows_after(machine: str, *seeds: str) -> list[dict[str, Any]]:
        out = tmp_path / machine
        if seeds:
            where = ["--config", config, "--out", out]
            call(monkeypatch, paired_gain.main, "run", *where, "--seeds", *seeds, *settings)
        call(monkeypatch, paired_gain.main, "report", "--out", out, "--ranks", ranks, "--json", found)
        return list(json.loads(found.read_text())["rows"])

    rows = rows_after("one", "0", "1")
    assert {(row["arm"], row["iteration"]) for row in rows} == {("two", 1), ("two", 2), ("aa", 1)}
    assert len(rows) == 3 * 2 * 4
    assert all(row["against"] == "base" and row["seeds"] == [0, 1] for row in rows)
    assert all(row["generated"]["new_sequences"] > 0 for row in rows if row["arm"] == "two")
    both = rows_after("two", "2")
    assert all(row["seeds"] == [0, 1, 2] for row in both)
    # What was generated is told only where every run of a row is there.
    assert not any("generated" in row for row in both)
    assert [row["per_seed"][:2] for row in both] == [row["per_seed"] for row in rows]
    assert rows_after("gone") == both


def test_what_a_kill_leaves_of_a_copied_base_is_taken_for_no_model(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = [*SMALL, "loop.iterations=0"]
    paired_gain.run_arm(str(config), settings, "first", 0, tmp_path)

    def killed(model: Path, copy: Path) -> None:
        copy.mkdir(parents=True)
        (copy / "model.json").write_bytes((model / "model.json").read_bytes())
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("benchmarks.studies.paired_gain.shutil.copytree", killed)
        with pytest.raises(KeyboardInterrupt):
            paired_gain.run_arm(str(config), settings, "second", 0, tmp_path)
    paired_gain.run_arm(str(config), settings, "second", 0, tmp_path)
    made, copied = (
        {file.name: file.read_bytes() for file in (tmp_path / f"{arm}-seed0" / layout.folder(0) / "model").iterdir()}
        for arm in ("first", "second")
    )
    assert made == copied
