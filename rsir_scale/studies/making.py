"""Making one cell: its run from wherever it stands to its end, in this process.

Comes in: where the study lies and a `Job`, all of it plain values, so that a job crosses process borders. Goes out: a
finished run directory and the figures of its models' lists, or the error that stopped it, which the run's events tell,
too.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import torch

from rsir_scale.analysis.model_lists import describe_model
from rsir_scale.data.dataset import open_dataset
from rsir_scale.errors import ResumableError, reason_of
from rsir_scale.evaluation.evaluate import test_set
from rsir_scale.loop.local import LocalPhases
from rsir_scale.loop.recursion import run_recursion
from rsir_scale.runs.events import RUN_FAILED, append_event
from rsir_scale.runs.manifest import read_chain
from rsir_scale.runs.open_run import HeldRun, open_run
from rsir_scale.runs.run import Run
from rsir_scale.storage.opening import open_store
from rsir_scale.studies.cells import Cell, config_of
from rsir_scale.studies.folder import read_study
from rsir_scale.studies.lists import CellLists, keep_lists
from rsir_scale.studies.sharing import adopt_base


@dataclass(frozen=True)
class Job:
    """A cell that can be made now.

    Attributes:
        cell: which one.
        passes: of `longer`, see `cells.config_of`.
        base_of: key of the cell whose theta_0 it takes; None where it trains its own.
    """

    cell: Cell
    passes: int | None = None
    base_of: str | None = None


def make_cell(root: str, job: Job) -> None:
    """Bring a cell's run to its end.

    Args:
        root: the study's folder or address.
        job: one of its cells.

    Raises:
        RsirError: as `open_run` and `run_recursion` do; the run's events tell the reason.
    """
    file = read_study(open_store(root)).file
    config = config_of(file, job.cell, passes=job.passes)
    torch.set_num_threads(config.training.threads)
    with open_run(open_store(f"{root}/{job.cell.key}"), config, open_dataset(config.data.path)) as run:
        try:
            take_base(run, root, job)
            run_recursion(run, LocalPhases())
            keep_lists(open_store(root), job.cell.key, lists_of_cell(run, file.cutoffs))
        except Exception as error:
            with suppress(ResumableError):
                run.lease.assert_held()
                append_event(run.store, RUN_FAILED, {"error": reason_of(error)})
            raise


def lists_of_cell(run: Run, tops: Sequence[int]) -> CellLists:
    """Describe the top-n lists of every model of a finished run. Raises IntegrityError."""
    users = test_set(run.dataset.training_sequences(), run.dataset.held_out())
    iterations = range(len(read_chain(run.store)))
    return CellLists(iterations=tuple(describe_model(run, iteration, users, tops) for iteration in iterations))


def take_base(run: HeldRun, root: str, job: Job) -> None:
    """Copy theta_0 from the cell that the job names, if it names one. Raises IntegrityError, StorageFullError."""
    if job.base_of is not None:
        adopt_base(run, open_store(f"{root}/{job.base_of}"))
