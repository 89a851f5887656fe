"""What every test of a study begins with."""

from pathlib import Path

import pytest

from benchmarks.tests.small_market import market


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A settings file that names the small market."""
    path = tmp_path / "config.yaml"
    path.write_text(f"data:\n  path: {market().path}\n")
    return path
