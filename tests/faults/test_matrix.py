"""Every cell of the fault matrix ends, after the same command was given again, in what an undisturbed run leaves."""

from __future__ import annotations

import pytest

from tests.faults.cells import run_cell
from tests.faults.matrix import FAULTS, PROCESSES, Cell, cells, cover, impossible, steps
from tests.faults.steps import KINDS, kind_of, nameless

# What comes of an object that loses its second half after it counted, while nobody runs.
REFUSED, ANEW, VERIFY = "refused by name", "made anew, or of no use any more", "found by rsir verify"
AFTER_DAMAGE = {
    **dict.fromkeys(KINDS, REFUSED),
    **dict.fromkeys(("events", "training state", "training tensors"), ANEW),
    **dict.fromkeys(("ranks", "errors"), VERIFY),
}


@pytest.fixture(scope="session")
def chosen() -> dict[str, Cell]:
    return {str(cell): cell for cell in cover()}


@pytest.mark.timeout(600)
def test_each_step_fault_and_process_once() -> None:
    for cell in cover():
        _assert_green(cell)


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("fault", FAULTS)
def test_every_cell(fault: str) -> None:
    for cell in cells():
        if cell.fault == fault:
            _assert_green(cell)


def _assert_green(cell: Cell) -> None:
    try:
        ended = run_cell(cell)
    except Exception as error:
        raise AssertionError(f"{cell}: {error}") from error
    if cell.fault == "truncated":
        assert ended == AFTER_DAMAGE[cell.step.kind], cell
    if cell.fault == "exception":
        assert ended == "UnforeseenError", cell


def test_the_cover_has_every_kind_of_object_and_every_fault_of_every_process() -> None:
    chosen = cover()
    assert {cell.step.kind for cell in chosen} == set(KINDS)
    possible = {(cell.fault, cell.process) for cell in cells()}
    assert {(cell.fault, cell.process) for cell in chosen} == possible
    assert {fault for fault, _ in possible} == set(FAULTS)


def test_every_step_of_every_process_is_a_cell_or_has_a_reason() -> None:
    total = len(steps()) * len(FAULTS) * len(PROCESSES)
    assert len(cells()) + sum(impossible().values()) == total
    assert {step.kind for step in steps()} == set(KINDS)


def test_a_step_that_nobody_knows_is_an_error() -> None:
    with pytest.raises(StopIteration):
        kind_of("iteration=000/something.json")
    assert nameless("iteration=000/ranks.0123456789ab.parquet") == "iteration=000/ranks.*.parquet"
