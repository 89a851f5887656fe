"""`rsir analyse` and `rsir data noise`, from the command line."""

import json
from pathlib import Path

import pytest

from rsir_scale.data.dataset import open_dataset
from tests.cli.test_main import call
from tests.loop.tiny_run import tiny_run


def test_an_analysis_is_one_json_object_or_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    run = tiny_run()
    code, out, _ = call(capsys, "analyse", run.path, "--top", 5, "--json")
    assert code == 0
    assert [row["iteration"] for row in json.loads(out)["iterations"]] == [0, 1, 2]
    code, out, _ = call(capsys, "analyse", run.path, "--top", 5)
    assert code == 0
    assert "density_growth" in out


def test_what_is_no_run_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, out, err = call(capsys, "analyse", tmp_path)
    assert (code, out) == (2, "")
    assert "is no run" in err


def test_noise_makes_a_dataset_that_says_where_it_came_from(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    call(capsys, "data", "synthesize", "--users", 20, "--items", 90, "--out", tmp_path / "clean")
    clean = open_dataset(tmp_path / "clean").meta
    code, _, _ = call(capsys, "data", "noise", tmp_path / "clean", "--share", ".3", "--out", tmp_path / "noisy")
    assert code == 0
    _, out, _ = call(capsys, "data", "stats", tmp_path / "noisy", "--json")
    noise = json.loads(out)["noise"]
    assert (noise["of"], noise["share"], noise["seed"]) == (clean.fingerprint, 0.3, 0)
    code, _, err = call(capsys, "data", "noise", tmp_path / "clean", "--share", "1.1", "--out", tmp_path / "more")
    assert code == 2
    assert "share=1.1" in err
    assert not (tmp_path / "more").exists()
