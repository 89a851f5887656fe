"""A search for settings skips what is done, resumes what was stopped, and sees no test figure."""

import json
from pathlib import Path

import pytest

from benchmarks.studies import tuning
from benchmarks.tests.studies.small_study import SMALL, call, small
from rsir_scale.config.file import load_config
from rsir_scale.errors import ConfigError, StorageFullError
from rsir_scale.training.epoch import Progress


@pytest.fixture
def trials(tmp_path: Path) -> Path:
    path = tmp_path / "trials.yaml"
    path.write_text("- name: plain\n- name: wide\n  set: [model.feed_forward=16]\n")
    return path


def test_a_search_judges_on_validation_and_skips_what_is_done(
    config: Path, trials: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out" / "search.json"
    arguments = ["run", "--config", config, "--trials", trials, "--out", out, "--state", tmp_path / "state", *small()]
    call(monkeypatch, tuning.main, *arguments)
    rows = json.loads(out.read_text())["rows"]
    assert [row["name"] for row in rows] == ["plain", "wide"]
    assert rows[1]["settings"]["model.feed_forward"] == 16
    assert all(0 < row["validation/NDCG@20"] < 1 and row["epochs"] == 2 for row in rows)
    assert not [key for row in rows for key in row if "test" in key]
    assert not list((tmp_path / "state").iterdir())
    monkeypatch.setattr(tuning, "train_iteration", lambda *_, **__: pytest.fail("a finished trial was fitted again"))
    call(monkeypatch, tuning.main, *arguments)
    assert json.loads(out.read_text())["rows"] == rows
    trials.write_text("- name: plain\n  set: [model.dropout=0.1]\n")
    with pytest.raises(ConfigError, match="another name"):
        call(monkeypatch, tuning.main, *arguments)


def test_a_stopped_trial_ends_as_an_undisturbed_one(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load_config(config, [*SMALL, "seed=3"])
    undisturbed = tuning.run_trial("a", settings, tmp_path / "one")

    def stop(name: str, progress: Progress) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(tuning, "tell", stop)
        with pytest.raises(KeyboardInterrupt):
            tuning.run_trial("a", settings, tmp_path / "two")
    updates: list[int] = []
    monkeypatch.setattr(tuning, "tell", lambda name, progress: updates.append(progress.update))
    resumed = tuning.run_trial("a", settings, tmp_path / "two")
    assert len(updates) == 1
    assert {**resumed, "seconds": 0} == {**undisturbed, "seconds": 0}


def test_a_trial_whose_loss_is_no_number_leaves_a_row_that_says_so(config: Path, tmp_path: Path) -> None:
    settings = load_config(config, [*SMALL, "training.learning_rate=1e30"])
    row = tuning.run_trial("wild", settings, tmp_path)
    assert "nan" in row["error"]


def test_a_trial_that_a_full_disk_stops_has_no_row_and_keeps_its_state(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(name: str, progress: Progress) -> None:
        raise StorageFullError("no byte more")

    monkeypatch.setattr(tuning, "tell", full)
    with pytest.raises(StorageFullError):
        tuning.run_trial("a", load_config(config, SMALL), tmp_path / "state")
    assert list((tmp_path / "state").rglob("state.json"))


@pytest.mark.parametrize("text", ["- set: [seed=1]\n", "- name: a\n- name: a\n", "- name: a\n  settings: [seed=1]\n"])
def test_a_malformed_list_of_trials_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "trials.yaml").write_text(text)
    with pytest.raises(ConfigError):
        tuning.read_trials(tmp_path / "trials.yaml")
