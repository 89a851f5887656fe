"""`rsir report`, `rsir compare`, and the sentences that a run ends with."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.test_main import call
from tests.loop.tiny_run import tiny_run
from tests.studies.world import copy_of_study


def test_a_run_is_reported_without_torch_ray_or_pandas(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    script = (
        "import sys\nfrom rsir_scale.cli.main import main\n"
        f"try:\n    main(['report', {str(tiny_run().path)!r}, '--html', {str(page)!r}])\nexcept SystemExit as end:\n"
        "    assert not end.code\nassert not {'torch', 'ray', 'pandas'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, timeout=60)
    assert page.read_text().startswith("<!doctype html>")


def test_a_study_is_reported_as_a_run_is(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    copy_of_study(tmp_path / "study")
    code, out, err = call(capsys, "report", tmp_path / "study", "--html", tmp_path / "page.html")
    assert (code, out, err) == (0, "", f"{tmp_path / 'page.html'}\n")
    assert "What this study shows" in (tmp_path / "page.html").read_text()


def test_runs_are_compared(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    tiny_run().copy_to(tmp_path / "copy")
    code, _, _ = call(capsys, "compare", tiny_run().path, tmp_path / "copy", "--html", tmp_path / "page.html")
    assert code == 0
    assert "2 runs side by side" in (tmp_path / "page.html").read_text()


def test_what_cannot_be_reported_is_refused_and_no_page_is_written(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    page, titles = tmp_path / "page.html", tmp_path / "titles.csv"
    titles.write_text("item_id,title\nnobody's,thing\n")
    study, damaged = copy_of_study(tmp_path / "study"), tiny_run().copy_to(tmp_path / "damaged")
    part = next(damaged.path.glob("iteration=000/generation/data/part-*.parquet"))
    part.write_bytes(part.read_bytes()[:-1])
    for directory, more, exit_code, said in (
        (tmp_path, (), 2, "it is no run"),
        (tiny_run().path, ("--titles", titles), 2, "a title for none"),
        (study.store.root, ("--titles", titles), 2, "leave --titles out"),
        (damaged.path, (), 4, part.name),
    ):
        code, out, err = call(capsys, "report", directory, "--html", page, *more)
        assert (code, out, said in err) == (exit_code, "", True)
        assert not page.exists()


@pytest.mark.parametrize("verb", ["resume", "status"])
def test_a_run_that_is_done_ends_with_its_verdict(
    verb: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    tiny_run().copy_to(tmp_path / "run")
    code, out, _ = call(capsys, verb, tmp_path / "run")
    assert code == 0
    assert "against 0: NDCG@10" in out
    assert "No control was run" in out
    assert (f"Next: rsir report {tmp_path / 'run'} --html report.html" in out) == (verb == "resume")


def test_status_tells_scripts_the_verdict(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = call(capsys, "status", tiny_run().path, "--json")
    verdict = json.loads(out)["verdict"]
    assert verdict["best_iteration"] == json.loads(out)["best_iteration"]
    assert [each["metric"] for each in verdict["compared"]] == ["NDCG@10", "Recall@10"]
