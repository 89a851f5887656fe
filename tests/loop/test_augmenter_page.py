"""The class that docs/augmenter.md shows runs as it stands there: two iterations, killed once, resumed, verified."""

import multiprocessing
import os
import re
import signal
import sys
from pathlib import Path

import pytest
import yaml

from rsir_scale.cli.main import main
from rsir_scale.config.augmenters import BUILT_IN
from rsir_scale.config.file import load_config
from rsir_scale.data.dataset import open_dataset
from rsir_scale.loop.local import LocalPhases
from rsir_scale.loop.recursion import run_recursion
from rsir_scale.runs.open_run import open_run
from rsir_scale.runs.status import read_status
from rsir_scale.storage.opening import open_store
from tests.loop.tiny_run import tiny_dataset

PAGE = Path(__file__).parents[2] / "docs" / "augmenter.md"
NAME = "crop:Crop"


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """A folder as a reader has it: the page's class in a file, and a config that names it."""
    code = re.search(r"^```python\n(.*?)^```$", PAGE.read_text(), flags=re.DOTALL | re.MULTILINE)
    assert code is not None
    (tmp_path / "crop.py").write_text(code[1])
    settings = {
        "data": {"path": str(tiny_dataset().path), "max_length": 8},
        "model": {"width": 8, "feed_forward": 8, "blocks": 1, "heads": 2},
        "training": {"max_epochs": 1, "batch_size": 64, "negatives": 16},
        "generation": {"augmenter": NAME, "trials_per_sequence": 2, "shard_sources": 25},
        "augmenter": {"share": 0.5},
        "loop": {"iterations": 2},
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(settings))
    return tmp_path


def run(folder: str, *, dies: bool = False) -> None:
    """Run the config here, without Ray; this process dies by SIGKILL once a shard is committed, if it is told so."""

    def before(step: str, key: str) -> None:
        if dies and "iteration=001/generation/commits" in key:
            os.kill(os.getpid(), signal.SIGKILL)

    config = load_config(Path("config.yaml"))
    with open_run(open_store(folder, before=before), config, open_dataset(config.data.path)) as held:
        run_recursion(held, LocalPhases())


def run_and_die(desk: Path, folder: str) -> None:
    """What another process does."""
    os.chdir(desk)
    sys.path.insert(0, str(desk))
    run(folder, dies=True)


def rsir(*words: str) -> int:
    """The exit code of a command, given here."""
    with pytest.raises(SystemExit) as end:
        main(list(words))
    return int(end.value.code or 0)


def test_the_class_on_the_page_is_about_forty_lines() -> None:
    code = re.search(r"^```python\n(.*?)^```$", PAGE.read_text(), flags=re.DOTALL | re.MULTILINE)
    assert code is not None
    assert code[1].count("\n") <= 40


def test_the_class_on_the_page_runs_two_iterations_and_a_kill_changes_nothing(
    desk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(desk)
    monkeypatch.syspath_prepend(desk)
    run("whole")
    # Not forked from here: torch has threads by now.
    killed = multiprocessing.get_context("forkserver").Process(target=run_and_die, args=(desk, "killed"))
    killed.start()
    killed.join(60)
    assert killed.exitcode == -signal.SIGKILL
    # Its lease belongs to a process of this machine that is gone.
    run("killed")
    states = [read_status(open_store(name)) for name in ("whole", "killed")]
    assert states[0]["digest"] == states[1]["digest"] is not None
    assert [entry["state"] for entry in states[1]["iterations"]] == ["done"] * 3
    assert states[1]["iterations"][0]["new_sequences"] > 0
    assert rsir("verify", "killed") == 2
    assert f"add --augmenter {NAME}" in capsys.readouterr().err
    assert rsir("verify", "killed", "--augmenter", NAME, "--json") == 0, capsys.readouterr()


def test_the_page_names_every_augmenter() -> None:
    table = PAGE.read_text().partition("| name |")[2].partition("\n\n")[0]
    for name in BUILT_IN:
        assert f"`{name}`" in table, name
