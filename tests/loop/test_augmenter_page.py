"""The class that docs/augmenter.md shows runs as it stands there: two iterations, killed once, resumed, verified."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from rsir_scale.config.augmenters import BUILT_IN
from rsir_scale.runs.status import read_status
from rsir_scale.storage.opening import open_store
from tests.loop.tiny_run import tiny_dataset

PAGE = Path(__file__).parents[2] / "docs" / "augmenter.md"
NAME = "crop:Crop"
# Without Ray, and dead by SIGKILL once a shard is committed, if it is told so.
DRIVE = """
import os, signal, sys
from rsir_scale.config.file import load_config
from rsir_scale.data.dataset import open_dataset
from rsir_scale.loop.local import LocalPhases
from rsir_scale.loop.recursion import run_recursion
from rsir_scale.runs.open_run import open_run
from rsir_scale.storage.opening import open_store

config, folder, dies = sys.argv[1:]
config = load_config(config)
store = open_store(folder)
create = type(store).create

def deadly(self, key, data):
    create(self, key, data)
    if dies == "yes" and "iteration=001/generation/commits" in key:
        os.kill(os.getpid(), signal.SIGKILL)

type(store).create = deadly
with open_run(store, config, open_dataset(config.data.path)) as run:
    run_recursion(run, LocalPhases())
"""


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


def python(desk: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    path = os.pathsep.join([str(desk), *(entry for entry in sys.path if entry)])
    environment = os.environ | {"PYTHONPATH": path}
    return subprocess.run(
        [sys.executable, *words], env=environment, cwd=desk, capture_output=True, text=True, timeout=120
    )


def test_the_class_on_the_page_is_about_forty_lines() -> None:
    code = re.search(r"^```python\n(.*?)^```$", PAGE.read_text(), flags=re.DOTALL | re.MULTILINE)
    assert code is not None
    assert code[1].count("\n") <= 40


def test_the_class_on_the_page_runs_two_iterations_and_a_kill_changes_nothing(desk: Path) -> None:
    drive = ["-c", DRIVE, "config.yaml"]
    whole = python(desk, *drive, "whole", "no")
    assert whole.returncode == 0, whole.stderr
    assert python(desk, *drive, "killed", "yes").returncode == -signal.SIGKILL
    # Its lease belongs to a process of this machine that is gone.
    resumed = python(desk, *drive, "killed", "no")
    assert resumed.returncode == 0, resumed.stderr
    states = [read_status(open_store(desk / name)) for name in ("whole", "killed")]
    assert states[0]["digest"] == states[1]["digest"] is not None
    assert [entry["state"] for entry in states[1]["iterations"]] == ["done"] * 3
    assert states[1]["iterations"][0]["new_sequences"] > 0
    refused = python(desk, "-m", "rsir_scale", "verify", "killed")
    assert refused.returncode == 2
    assert f"add --augmenter {NAME}" in refused.stderr
    verified = python(desk, "-m", "rsir_scale", "verify", "killed", "--augmenter", NAME, "--json")
    assert verified.returncode == 0, verified.stdout + verified.stderr


def test_the_page_names_every_augmenter() -> None:
    table = PAGE.read_text().partition("| name |")[2].partition("\n\n")[0]
    for name in BUILT_IN:
        assert f"`{name}`" in table, name
