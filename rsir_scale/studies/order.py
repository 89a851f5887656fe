"""Which cell comes next, and what becomes of those that fail: a study from wherever it stands to its end.

Comes in: a study, the seeds that are wanted, and a runner, which makes cells in this process or on a cluster. Goes out:
finished runs, and of each cell that failed the reason. What counts is in the run directories, so the same call starts a
study, goes on with it after any kill, and finds nothing to do at its end. Several calls may work on one study: a cell
that another one holds is waited for.
"""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from rsir_scale.config.settings import Config
from rsir_scale.data.dataset import open_dataset
from rsir_scale.errors import IntegrityError, LeaseHeldError, ResumableError, RsirError, reason_of
from rsir_scale.loop.stop import StoppedError
from rsir_scale.runs.begun import read_config
from rsir_scale.runs.lease import DURATION_S
from rsir_scale.studies.cells import Cell, base_settings, config_of
from rsir_scale.studies.folder import Failure, Study
from rsir_scale.studies.making import Job, make_cell
from rsir_scale.studies.passes import passes_of
from rsir_scale.studies.sharing import has_base
from rsir_scale.studies.spent import updates_spent

Tell = Callable[[str], None]
_TRIED_AGAIN_S = 2.0
_HELD_S = 2 * DURATION_S


@dataclass(frozen=True)
class Ended:
    """A job that is over; `error` is None where its run is finished."""

    job: Job
    error: BaseException | None = None


class Runner(Protocol):
    """Where cells are made."""

    def has_room(self) -> bool:
        """Whether another job may start now."""
        ...

    def start(self, job: Job) -> None:
        """Begin a job."""
        ...

    def ended(self) -> list[Ended]:
        """Jobs that ended since the last call; waits a moment where none has."""
        ...


@dataclass
class InProcess:
    """Cells one after another, each made by a call in this process: without Ray, unless `make` brings it."""

    root: str
    make: Callable[[str, Job], None] = make_cell
    _over: list[Ended] = field(default_factory=list)

    def has_room(self) -> bool:
        """One job at a time."""
        return not self._over

    def start(self, job: Job) -> None:
        """Make the cell; returns when it is over. Raises StoppedError."""
        try:
            self.make(self.root, job)
        except StoppedError:
            raise
        except RsirError as error:
            self._over.append(Ended(job, error))
        else:
            self._over.append(Ended(job))

    def ended(self) -> list[Ended]:
        """The job that `start` made."""
        over, self._over = self._over, []
        return over


def bring_to_end(study: Study, seeds: Sequence[int], runner: Runner, tell: Tell = lambda _: None) -> None:
    """Make every cell of these seeds that is not finished; the others go on when one fails.

    Raises:
        ResumableError: cells failed; the same call tries them again.
        IntegrityError: a cell's run is damaged.
    """
    work = _Work(study, [cell for cell in study.cells() if cell.seed in seeds])
    tell(work.count())
    while work.unfinished():
        while runner.has_room() and (job := work.take()) is not None:
            study.forget_failure(job.cell)
            runner.start(job)
        over = runner.ended()
        for ended in over:
            work.put_back(ended)
            tell(f"{work.count()}; {ended.job.cell.key} {_outcome(ended)}")
        if not over:
            work.rest()
    _raise_for(study, work.failed)


def _outcome(ended: Ended) -> str:
    return "done" if ended.error is None else f"stopped: {reason_of(ended.error)}"


def _raise_for(study: Study, failed: dict[str, Failure]) -> None:
    if not failed:
        return
    lines = "\n".join(f"  {key}: {failure.reason}" for key, failure in failed.items())
    message = f"{len(failed)} cells of {study.store.root} failed; the others are done:\n{lines}\n"
    if not all(failure.resumable for failure in failed.values()):
        raise IntegrityError(f"{message}restore what is damaged, or remove that cell's folder, and run it again")
    raise ResumableError(f"{message}the same command tries them again")


class _Work:
    """The cells that are still to be made, those under way, and those that failed."""

    def __init__(self, study: Study, cells: Sequence[Cell]) -> None:
        self._study = study
        self._cells = {cell.key: cell for cell in cells}
        self._done = {cell.key for cell in cells if study.is_made(cell)}
        self._running: set[str] = set()
        self._held: dict[str, tuple[float, float]] = {}
        self._shared: dict[str, str] = {}
        self._configs: dict[tuple[str, int | None], Config] = {}
        self.failed: dict[str, Failure] = {}
        for key, cell in self._cells.items():
            if cell.of is None:
                self._owner(cell, self._config(cell, None))
            elif key in self._done:
                self._owner(cell, read_config(study.run_store(cell)))

    def count(self) -> str:
        """How far the study is, in words."""
        return f"{len(self._done)} of {len(self._cells)} cells done"

    def unfinished(self) -> bool:
        """Whether there is something left to do or to wait for."""
        return len(self._done) + len(self.failed) < len(self._cells)

    def take(self) -> Job | None:
        """The first cell that can be made now; None where all that is left waits for another one."""
        for key, cell in self._cells.items():
            if key in self._done or key in self._running or key in self.failed or self._is_held(key):
                continue
            job = self._job(cell)
            if job is not None:
                self._running.add(key)
                return job
        return None

    def put_back(self, ended: Ended) -> None:
        """Note how a job ended; a cell that somebody else works on is tried again."""
        key, error, now = ended.job.cell.key, ended.error, time.monotonic()
        self._running.discard(key)
        if error is None:
            self._done.add(key)
            return
        since = self._held.get(key, (now, now))[0]
        if isinstance(error, LeaseHeldError) and now - since < _HELD_S:
            self._held[key] = since, now + _TRIED_AGAIN_S
            return
        self._fail(ended.job.cell, Failure(reason=reason_of(error), resumable=not isinstance(error, IntegrityError)))

    def rest(self) -> None:
        """Wait for what others hold, where nothing of our own is under way."""
        if not self._running:
            time.sleep(min(_TRIED_AGAIN_S, 0.2))

    def _is_held(self, key: str) -> bool:
        """Whether somebody else held it a moment ago; what has been finished since counts as done."""
        return key in self._held and time.monotonic() < self._held[key][1]

    def _fail(self, cell: Cell, failure: Failure) -> None:
        self._study.tell_failure(cell, failure)
        self.failed[cell.key] = failure

    def _job(self, cell: Cell) -> Job | None:
        """What makes the cell; None where it has to wait, or cannot be made."""
        passes = None
        if cell.of is not None:
            arm = cell.beside(cell.of)
            if self._blocked_by(cell, arm) or arm not in self._done:
                return None
            passes = self._passes(cell, arm)
        owner = self._owner(cell, self._config(cell, passes))
        if owner == cell.key:
            return Job(cell, passes)
        if has_base(self._study.run_store(self._cells[owner])):
            return Job(cell, passes, base_of=owner)
        self._blocked_by(cell, owner)
        return None

    def _blocked_by(self, cell: Cell, key: str) -> bool:
        """Whether a cell that this one needs failed; it then fails with it."""
        if key not in self.failed:
            return False
        other = self.failed[key]
        self._fail(cell, Failure(reason=f"it needs {key}, which failed", resumable=other.resumable))
        return True

    def _passes(self, cell: Cell, arm: str) -> int:
        config = self._config(cell, None)
        updates = sum(updates_spent(self._study.run_store(self._cells[arm])))
        return passes_of(updates, config, open_dataset(config.data.path))

    def _config(self, cell: Cell, passes: int | None) -> Config:
        # Asked for whenever a place is free, and slow to resolve.
        if (cell.key, passes) not in self._configs:
            self._configs[cell.key, passes] = config_of(self._study.file, cell, passes=passes)
        return self._configs[cell.key, passes]

    def _owner(self, cell: Cell, config: Config) -> str:
        """The cell that trains theta_0 for all that agree on it: the first that came."""
        shared = f"{cell.dataset} {json.dumps(base_settings(config), sort_keys=True)}"
        return self._shared.setdefault(shared, cell.key)
