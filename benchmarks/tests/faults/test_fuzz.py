"""A slice of `benchmarks/faults/fuzz.py`: the same targets and changes, a few inputs each, always the same ones."""

from pathlib import Path

import pytest

from benchmarks.faults.fuzz import fuzz
from benchmarks.faults.fuzz_targets import Target, targets

INPUTS = 8


@pytest.fixture(scope="module")
def tried(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Target]:
    """All targets, over one small run."""
    return targets(tmp_path_factory.mktemp("fuzz"))


@pytest.mark.timeout(120)
def test_no_bytes_end_otherwise_than_by_a_message(tried: dict[str, Target]) -> None:
    rows = [fuzz(name, target, inputs=INPUTS, seed=1) for name, target in tried.items()]
    assert not [row for row in rows if row["faults"]]
    # A target that takes all, or refuses all, would tell nothing.
    assert sum(row["ended"].get("taken", 0) for row in rows) > len(rows)
    assert sum(row["ended"].get("InputError", 0) + row["ended"].get("IntegrityError", 0) for row in rows) > len(rows)


def test_a_parser_that_fails_otherwise_is_found(tried: dict[str, Target], tmp_path: Path) -> None:
    target = tried["record: lease"]
    row = fuzz("fragile", Target(target.seeds, lambda data: data.decode()), inputs=200, seed=1, keep=tmp_path)
    assert row["ended"]["fault"] > 0
    assert "UnicodeDecodeError" in row["faults"][0]["error"]
    assert (tmp_path / row["faults"][0]["bytes"]).exists()
