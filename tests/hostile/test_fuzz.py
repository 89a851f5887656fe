"""A slice of `benchmarks/faults/fuzz.py`: the same targets and changes, a few inputs each, always the same ones."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

INPUTS = 40


@pytest.fixture(scope="module")
def fuzzer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The script, which is written to be run from its folder, and its targets."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
        import fuzz
        import fuzz_targets

        yield fuzz, fuzz_targets.targets(tmp_path_factory.mktemp("fuzz"))
        for name in ("fuzz", "fuzz_targets", "machine"):
            sys.modules.pop(name, None)


@pytest.mark.timeout(120)
def test_no_bytes_end_otherwise_than_by_a_message(fuzzer: tuple[ModuleType, dict[str, Any]]) -> None:
    script, targets = fuzzer
    rows = [script.fuzz(name, target, inputs=INPUTS, seed=1) for name, target in targets.items()]
    assert not [row for row in rows if row["faults"]]
    # A target that takes all, or refuses all, would tell nothing.
    assert sum(row["ended"].get("taken", 0) for row in rows) > len(rows)
    assert sum(row["ended"].get("InputError", 0) + row["ended"].get("IntegrityError", 0) for row in rows) > len(rows)


def test_a_parser_that_fails_otherwise_is_found(fuzzer: tuple[ModuleType, dict[str, Any]], tmp_path: Path) -> None:
    script, targets = fuzzer
    target = targets["record: lease"]
    row = script.fuzz(
        "fragile", type(target)(target.seeds, lambda data: data.decode()), inputs=200, seed=1, keep=tmp_path
    )
    assert row["ended"]["fault"] > 0
    assert "UnicodeDecodeError" in row["faults"][0]["error"]
    assert (tmp_path / row["faults"][0]["bytes"]).exists()
