"""`rsir study`, verb by verb, without Ray: `run` is held to what it refuses and to what it asks of the schedule."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from rsir_scale.studies import schedule
from tests.cli.test_main import call
from tests.loop.tiny_run import tiny_dataset
from tests.studies.world import ARMS, copy_of_study, raw_study


@pytest.fixture
def study_file(tmp_path: Path) -> Path:
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(raw_study(), sort_keys=False))
    return path


@pytest.mark.parametrize(
    ("arguments", "asked"),
    [
        ((), (None, None)),
        (("--seeds", "0"), ([0], None)),
        (("--seeds", "3", "5", "4", "--workers", "2"), ([3, 5, 4], 2)),
        (("--workers", "2", "--seeds", "3", "5"), ([3, 5], 2)),
    ],
)
def test_seeds_stand_behind_one_another(
    capsys: pytest.CaptureFixture[str],
    study_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    asked: tuple[list[int] | None, int | None],
) -> None:
    given: dict[str, Any] = {}
    monkeypatch.setattr(schedule, "run_study", lambda file, out, **settings: given.update(settings))
    code, _, err = call(capsys, "study", "run", study_file, "--out", "there", *arguments)
    assert (code, err) == (0, "")
    assert (given["seeds"] or None, given["workers"]) == asked
    assert given["again"].startswith(f"rsir study run {study_file} --out there")


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no controls": ({"arms": {"rsir": {}}}, "no control aa and no control longer"),
    "equal arms": ({"arms": {**ARMS, "again": {}}}, "arms.again sets nothing that rsir does not"),
    "large cutoffs": ({"cutoffs": [500], "metric": "NDCG@500"}, "cutoffs=[500]"),
    "a large cell": ({"cell": {"cpus": 5000}}, "cell.cpus=5000"),
    "no dataset": ({"datasets": {"x": "nowhere"}}, "nowhere"),
}


@pytest.mark.parametrize(("changes", "said"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_studied_is_refused_and_nothing_is_written(
    capsys: pytest.CaptureFixture[str], study_file: Path, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    study_file.write_text(yaml.safe_dump(raw_study(**changes), sort_keys=False))
    code, out, err = call(capsys, "study", "run", study_file, "--out", tmp_path / "new")
    assert (code, out) == (2, "")
    assert said in err
    assert "Traceback" not in err
    assert not (tmp_path / "new").exists()


def test_the_folder_of_another_study_is_refused(
    capsys: pytest.CaptureFixture[str], study_file: Path, tmp_path: Path
) -> None:
    copy_of_study(tmp_path / "study")
    study_file.write_text(yaml.safe_dump(raw_study(metric="Recall@10"), sort_keys=False))
    code, _, err = call(capsys, "study", "run", study_file, "--out", tmp_path / "study")
    assert code == 2
    assert 'is another study (metric: "NDCG@10" → "Recall@10")' in err


def test_numbers_behind_no_seeds_are_refused(capsys: pytest.CaptureFixture[str], study_file: Path) -> None:
    code, _, err = call(capsys, "study", "run", study_file, "--out", "new", "1", "2")
    assert code == 2
    assert "write --seeds 1 2" in err


def test_a_study_tells_where_it_stands_and_what_it_found(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    copy_of_study(tmp_path / "study")
    code, out, _ = call(capsys, "study", "status", tmp_path / "study", "--json")
    assert (code, json.loads(out)["cells"]["done"]) == (0, 12)
    code, out, _ = call(capsys, "study", "report", tmp_path / "study", "--json", "--html", tmp_path / "page.html")
    found = json.loads(out)
    assert (code, {arm["control"] for arm in found["arms"]}) == (0, {None, "aa", "longer"})
    assert (tmp_path / "page.html").read_text().startswith("<!doctype html>")
    for verb in ("status", "report"):
        code, out, _ = call(capsys, "study", verb, tmp_path / "study")
        assert (code, "market" in out) == (0, True)
    assert found["arms"][0]["sentence"] in out


def test_a_study_is_reported_without_torch_and_ray(tmp_path: Path) -> None:
    copy_of_study(tmp_path / "study")
    script = (
        "import sys\nfrom rsir_scale.cli.main import main\n"
        f"try:\n    main(['study', 'report', {str(tmp_path / 'study')!r}, '--json'])\nexcept SystemExit as end:\n"
        "    assert not end.code\nassert not {'torch', 'ray', 'pandas'} & sys.modules.keys()"
    )
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, timeout=60)
    assert json.loads(done.stdout)["arms"][0]["lists"].keys() >= {"coverage@10", "gini@5", "serendipity@10"}


def test_a_first_study_file_and_another_machine_s_cells(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert call(capsys, "study", "init", tiny_dataset().path, "--out", tmp_path / "mine.yaml")[0] == 0
    assert "rsir study run" in (tmp_path / "mine.yaml").read_text()
    for name in ("one", "other"):
        copy_of_study(tmp_path / name)
    code, _, err = call(capsys, "study", "add", tmp_path / "one", tmp_path / "other")
    assert (code, err) == (0, "0 cells copied, 12 were here already\n")


@pytest.mark.parametrize("verb", ["status", "report"])
def test_a_folder_that_is_no_study_is_told(capsys: pytest.CaptureFixture[str], tmp_path: Path, verb: str) -> None:
    code, _, err = call(capsys, "study", verb, tmp_path)
    assert code == 2
    assert "holds no study.json" in err
