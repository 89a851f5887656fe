"""Drivers, actors and workers as real processes that are killed at a step, alone or with all others of their machine.

A driver is forked from a server that has imported everything and started no thread; it forks a process for each phase,
as often as that one dies, up to three times. So a cell costs no start of an interpreter.
"""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path

from rsir_scale.errors import ResumableError
from rsir_scale.loop.local import LocalPhases
from rsir_scale.runs.open_run import HeldRun
from rsir_scale.runs.plan import ShardPlan
from tests.faults import world
from tests.faults.matrix import Process
from tests.faults.steps import Step

_ATTEMPTS = 3
_WAIT_S = 120
_server = multiprocessing.get_context("forkserver")
_server.set_forkserver_preload([__name__])


def run_killed(path: Path, scenario: world.Scenario, step: Step, victim: Process) -> int:
    """Give a scenario's commands in processes of which one, or all, die at a step.

    Returns:
        The number of the command that broke off; how many commands there are, where none did.
    """
    files = Files(path)
    driver = _server.Process(target=_drive, args=(world.folder(), path, scenario, step, victim))
    driver.start()
    driver.join(_WAIT_S)
    assert driver.exitcode in (0, -signal.SIGKILL), f"the driver ended with {driver.exitcode}"
    assert files.struck.exists(), f"{step} was never reached"
    return int(files.begun.read_text()) + (driver.exitcode == 0)


def wait_for_orphans(path: Path) -> None:
    """Return when every process of a machine has ended, those that outlived their driver too."""
    with Files(path).lock.open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)


class Files:
    """What the processes of a cell tell one another, beside the run directory."""

    def __init__(self, path: Path) -> None:
        self.struck = path.with_suffix(".struck")
        self.begun = path.with_suffix(".begun")
        self.lock = path.with_suffix(".lock")


def _drive(home: Path, path: Path, scenario: world.Scenario, step: Step, victim: Process) -> None:
    os.environ[world.HOME] = str(home)
    os.setsid()
    files = Files(path)
    # Held by every process that is forked from here, until the last of them ends.
    lock = files.lock.open("w")
    fcntl.flock(lock, fcntl.LOCK_SH)
    hook = _Killer(path, step, victim, driver=os.getpid())
    with world.small_world():
        for number, config in enumerate(scenario.commands):
            files.begun.write_text(str(number))
            world.go(path, config, hook=hook, phases=_ForkedPhases())


class _ForkedPhases:
    """Each phase in a process of its own, again if it dies."""

    def train(self, run: HeldRun, iteration: int) -> None:
        _in_a_process(lambda: LocalPhases().train(run, iteration))

    def generate(self, run: HeldRun, plan: ShardPlan) -> None:
        _in_a_process(lambda: LocalPhases().generate(run, plan))


def _in_a_process(work: Callable[[], None]) -> None:
    for _ in range(_ATTEMPTS):
        child = os.fork()
        if child == 0:
            try:
                work()
            except BaseException:  # noqa: BLE001 - whatever it was, the child ends here
                os._exit(1)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if status == 0:
            return
    raise ResumableError(f"the phase failed {_ATTEMPTS} times")


class _Killer:
    """A store's hook that kills at a step, the first time that any process takes it."""

    def __init__(self, path: Path, step: Step, victim: Process, *, driver: int) -> None:
        self._path = path
        self._step = step
        self._victim = victim
        self._driver = driver
        self._struck = Files(path).struck
        self._replaced: bytes | None = None

    def __call__(self, operation: str, key: str) -> None:
        file = self._path / key
        if operation == "put.replace":
            self._replaced = file.read_bytes() if file.exists() else None
        if not self._step.is_(operation, key) or self._struck.exists():
            return
        self._struck.touch()
        if self._victim == "node":
            self._lose_power(operation, file)
            os.killpg(0, signal.SIGKILL)
        os.kill(self._driver if self._victim == "driver" else os.getpid(), signal.SIGKILL)

    def _lose_power(self, operation: str, file: Path) -> None:
        """Take away what was not synced yet: the end of a file, or the name that it was given."""
        if operation.endswith(".sync"):
            torn = file if operation.startswith("put_new") else next(file.parent.glob(".tmp-*"))
            os.truncate(torn, torn.stat().st_size // 2)
        elif operation in ("create.sync_folder", "put_new.sync_folder"):
            file.unlink()
        elif operation == "put.sync_folder" and self._replaced is not None:
            file.write_bytes(self._replaced)
        elif operation == "put.sync_folder":
            file.unlink()
