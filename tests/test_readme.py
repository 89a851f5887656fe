"""The commands of the README do what it says, on a small market and with a small budget."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from rsir_scale.cli.main import app
from rsir_scale.loop import driver
from rsir_scale.loop.local import LocalPhases

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
SMALL = [
    *("--set", "training.max_epochs=2", "--set", "training.negatives=16", "--set", "generation.trials_per_sequence=1"),
    *("--set", "fidelity.rank_threshold=5", "--set", "model.width=16"),
]


def blocks(language: str) -> list[str]:
    """The code blocks of one language; plain ones have none."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.DOTALL | re.MULTILINE)


def own_log_commands() -> list[list[str]]:
    """The `rsir` commands of "On your own log", without their comments."""
    block = next(block for block in blocks("") if block.startswith("rsir data import"))
    lines = block.replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True) for line in lines if line.strip()]


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """A folder as a reader has it: the configs, and a log with ids like those of the README."""
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    draw = np.random.default_rng(0)
    lines = ["user,item,time"]
    for user in range(60):
        start = draw.integers(0, 30)
        lines += [f"user-{user},item-{(start + step) % 30},{1_000 + step}" for step in range(draw.integers(8, 14))]
    (tmp_path / "log.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


def is_taught(command: list[str]) -> bool:
    """Whether another run's model writes."""
    return any(part.startswith("generation.teacher=") for part in command)


def as_plan(arguments: list[str]) -> list[str]:
    """The same settings, planned instead of run."""
    where = arguments.index("--run-dir")
    return ["plan", *arguments[1:where], *arguments[where + 2 :]]


def small_commands() -> list[list[str]]:
    """The words of each command after `rsir`, with a small budget."""
    commands = own_log_commands()
    assert sum(map(is_taught, commands)) == 1
    return [[*command[1:], *(SMALL if command[1] in {"plan", "run"} else [])] for command in commands]


@pytest.fixture
def one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """`rsir run` trains and generates in this process, where it would start Ray."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(driver, "RayPhases", lambda cluster, line: LocalPhases())


@pytest.mark.usefixtures("one_process")
def test_every_command_on_ones_own_log_works(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(desk)
    for words in small_commands():
        app(as_plan(words) if is_taught(words) else words, standalone_mode=False)
    expect_outputs(desk)
    run(desk, ["-c", blocks("python")[0]])


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_command_on_ones_own_log_works_as_written(desk: Path, cluster: str) -> None:
    for words in small_commands():
        run(desk, ["-m", "rsir_scale", *words], address=cluster if words[0] == "run" else None)
    expect_outputs(desk)
    run(desk, ["-c", blocks("python")[0]])


def expect_outputs(folder: Path) -> None:
    """What the commands leave."""
    assert (folder / "mine-augmented").is_dir()
    assert (folder / "top10.parquet").is_file()


def test_files_and_targets_that_the_readme_names_exist() -> None:
    for link in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / link).exists(), link
    targets = re.findall(r"^make ([a-z-]+)", README, flags=re.MULTILINE)
    assert targets
    for target in targets:
        assert f"\n{target}:" in (ROOT / "Makefile").read_text(), target


def run(folder: Path, arguments: list[str], *, address: str | None = None) -> None:
    """Run Python in `folder`, with the Ray cluster of an address if any, and fail with what it printed."""
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    environment |= {} if address is None else {"RAY_ADDRESS": address}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=400
    )
    assert done.returncode == 0, f"{arguments}\n{done.stdout}\n{done.stderr}"
