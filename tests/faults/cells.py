"""How a cell is run: the fault, then the same command again until it is done, then the golden property."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from rsir_scale.errors import ResumableError, RsirError, StorageFullError
from rsir_scale.loop.local import LocalPhases
from rsir_scale.loop.recursion import Phases
from rsir_scale.runs.begun import stored_run
from rsir_scale.runs.open_run import HeldRun
from rsir_scale.runs.plan import ShardPlan
from rsir_scale.storage.opening import open_store
from rsir_scale.verification.verify import verify
from tests.faults import world
from tests.faults.matrix import NAMED_BY, READS, Cell, Fault
from tests.faults.processes import run_killed, wait_for_orphans
from tests.faults.steps import Step, kind_of
from tests.faults.world import Clock, Scenario

_YEAR_S = 365 * 24 * 3600.0
_LONG_S = 10_000.0


class UnforeseenError(Exception):
    """What the code under test does not know."""


def run_cell(cell: Cell) -> str:
    """Run a cell and assert that nothing was lost. Returns how the disturbed command ended."""
    with world.small_world(), TemporaryDirectory(prefix="cell-", dir=world.folder()) as folder:
        path, scenario = Path(folder) / "run", world.scenario(cell.step.scenario)
        world.golden(scenario.name)
        ended = _RUNNERS[cell.fault](path, scenario, cell)
        world.assert_nothing_lost(path, scenario.name)
    return ended


class Once:
    """A store's hook that does something the first time that a step is taken."""

    def __init__(self, step: Step, deed: Callable[[], None]) -> None:
        self.reached = False
        self._step = step
        self._deed = deed

    def __call__(self, operation: str, key: str) -> None:
        if not self.reached and self._step.is_(operation, key):
            self.reached = True
            self._deed()


class FromThen(Once):
    """One that goes on doing it, at every later step of some operations."""

    def __init__(self, step: Step, deed: Callable[[], None], *, at: Callable[[str], bool]) -> None:
        super().__init__(step, deed)
        self._at = at

    def __call__(self, operation: str, key: str) -> None:
        if self.reached and self._at(operation):
            self._deed()
        super().__call__(operation, key)


def _until_done(
    path: Path,
    scenario: Scenario,
    hook: Once,
    *,
    allowed: tuple[type[Exception], ...],
    phases: Phases | None = None,
    clock: Clock | None = None,
    between: Callable[[], None] = lambda: None,
) -> str:
    """Give the commands; each that fails again, without a hook. Returns the name of what ended the first, or `done`."""
    ended = "done"
    for config in scenario.commands:
        try:
            with world.ending():
                world.go(path, config, hook=hook, phases=phases, clock=clock)
        except allowed as error:
            ended = type(error).__name__
            between()
            world.go(path, config, clock=clock)
    assert hook.reached, "the step was never reached"
    return ended


def _exception(path: Path, scenario: Scenario, cell: Cell) -> str:
    def deed() -> None:
        raise UnforeseenError("injected")

    return _until_done(path, scenario, Once(cell.step, deed), allowed=(UnforeseenError,))


def _killed(path: Path, scenario: Scenario, cell: Cell) -> str:
    broken_off = run_killed(path, scenario, cell.step, cell.process)
    for config in scenario.commands[broken_off:]:
        world.go(path, config)
    wait_for_orphans(path)
    return "done" if broken_off == len(scenario.commands) else "SIGKILL"


def _raise(number: int) -> Callable[[], None]:
    def deed() -> None:
        raise OSError(number, os.strerror(number))

    return deed


def _hook_of(cell: Cell, deed: Callable[[], None], *, at: Callable[[str], bool]) -> Once:
    return FromThen(cell.step, deed, at=at) if cell.process == "node" else Once(cell.step, deed)


def _full(path: Path, scenario: Scenario, cell: Cell) -> str:
    def takes_room(operation: str) -> bool:
        return operation.endswith((".write", ".sync", "append_line"))

    hook = _hook_of(cell, _raise(errno.ENOSPC), at=takes_room)
    return _until_done(path, scenario, hook, allowed=(StorageFullError,))


def _unreadable(path: Path, scenario: Scenario, cell: Cell) -> str:
    hook = _hook_of(cell, _raise(errno.EIO), at=READS.__contains__)
    return _until_done(path, scenario, hook, allowed=(RsirError,))


def _clock_back(path: Path, scenario: Scenario, cell: Cell) -> str:
    clock = Clock()

    def deed() -> None:
        clock.now -= _YEAR_S

    return _until_done(path, scenario, Once(cell.step, deed), allowed=(), clock=clock)


def _slow(path: Path, scenario: Scenario, cell: Cell) -> str:
    clock, phases = Clock(), _Again()

    def another_host_takes_over() -> None:
        clock.now += _LONG_S
        with world.elsewhere("another host"):
            world.go_all(path, scenario.commands, clock=clock)

    deed = phases.again if cell.process in ("actor", "worker") else another_host_takes_over
    return _until_done(path, scenario, Once(cell.step, deed), allowed=(ResumableError,), phases=phases, clock=clock)


class _Again:
    """Phases of which a second attempt can be made while the first is under way."""

    def __init__(self) -> None:
        self._again: Callable[[], None] | None = None

    def again(self) -> None:
        """Do what is under way from its beginning to its end, by another attempt."""
        assert self._again is not None
        self._again()

    def train(self, run: HeldRun, iteration: int) -> None:
        """See `Phases.train`."""
        self._again = partial(LocalPhases().train, _of_another(run), iteration)
        LocalPhases().train(run, iteration)

    def generate(self, run: HeldRun, plan: ShardPlan) -> None:
        """See `Phases.generate`."""
        self._again = partial(LocalPhases().generate, _of_another(run), plan)
        LocalPhases().generate(run, plan)


def _of_another(run: HeldRun) -> HeldRun:
    return replace(run, store=open_store(run.store.root))


class _Stop:
    """A store's hook that stops the run once an object counts, and remembers where the object lies."""

    def __init__(self, step: Step) -> None:
        self.key, self.done = "", False
        self._step = step
        self._counts = False

    def __call__(self, operation: str, key: str) -> None:
        if self._counts and not self.done:
            self.done = True
            raise UnforeseenError("injected")
        if self._step.is_(operation, key):
            self.key = self.key or key
        record = NAMED_BY.get(self._step.kind, (self._step.kind,))
        named = kind_of(key) in record and operation.endswith((".done", "append_line"))
        self._counts = self._counts or (bool(self.key) and named)


def _truncated(path: Path, scenario: Scenario, cell: Cell) -> str:
    stop, ended = _Stop(cell.step), ""
    for config in scenario.commands:
        try:
            with world.ending():
                world.go(path, config, hook=stop)
        except UnforeseenError:
            ended = _after_damage(path, scenario, path / stop.key)
            world.go(path, config)
    # The lease is released when all is done.
    return ended or _after_damage(path, scenario, path / stop.key)


def _after_damage(path: Path, scenario: Scenario, file: Path) -> str:
    """Damage a file, give the commands, and put it back; returns what became of the damage."""
    whole, key = file.read_bytes(), file.relative_to(path).as_posix()
    os.truncate(file, len(whole) // 2)
    try:
        world.go_all(path, scenario.commands)
    except RsirError as error:
        file.write_bytes(whole)
        named = key in str(error) and error.exit_code in (3, 4)
        return "refused by name" if named else f"refused otherwise: {error}"
    report = verify(stored_run(open_store(path)))
    if report.ok:
        return "made anew, or of no use any more"
    assert {fault.file for fault in report.faults} == {key}, report.faults
    file.write_bytes(whole)
    return "found by rsir verify"


_RUNNERS: dict[Fault, Callable[[Path, Scenario, Cell], str]] = {
    "exception": _exception,
    "SIGKILL": _killed,
    "disk full": _full,
    "unreadable": _unreadable,
    "truncated": _truncated,
    "clock back": _clock_back,
    "slow store": _slow,
}
