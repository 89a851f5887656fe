"""Cells as Ray tasks: as many at once as fit, on this machine or on the cluster of RAY_ADDRESS.

Comes in: a study and how many cells may be under way. Goes out: what `order` is told of each. A small cell is one task,
which runs the whole recursion in its own process. A large one (`cell.where: ray`) has the cluster to itself, and is
handed to the driver of `rsir run`.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field

import psutil
import ray
from ray.exceptions import RayError, RayTaskError

from rsir_scale.data.dataset import open_dataset
from rsir_scale.environment import check_faiss_packages
from rsir_scale.loop.driver import Cluster, drive
from rsir_scale.loop.preflight import Node, local_nodes
from rsir_scale.loop.stop import StoppedError, Stopper
from rsir_scale.runs.open_run import open_run
from rsir_scale.runs.run import Run
from rsir_scale.storage.opening import open_store
from rsir_scale.studies.cells import cells_of, config_of
from rsir_scale.studies.checks import check_study
from rsir_scale.studies.file import CellSettings, StudyFile
from rsir_scale.studies.folder import Study, begin_study, read_study, record_of
from rsir_scale.studies.making import Job, make_cell, take_base
from rsir_scale.studies.order import Ended, InProcess, Runner, Tell, bring_to_end

_POLL_S = 1.0
_GIB = 1 << 30


def run_study(
    file: StudyFile,
    out: str,
    *,
    again: str,
    seeds: Sequence[int] | None = None,
    workers: int | None = None,
    tell: Tell = lambda _: None,
) -> None:
    """Start or resume a study and bring it to its end.

    Args:
        file: what is compared.
        out: the study's folder or address.
        again: the command that goes on with it.
        seeds: those to make now; None for the file's.
        workers: cells under way at once; None for as many as fit.
        tell: is told how far it is.

    Raises:
        ConfigError, InputError: see `check_study` and `begin_study`; nothing was written.
        StoppedError: SIGINT or SIGTERM.
        ResumableError: cells failed; the others are finished.
        IntegrityError: a cell's run is damaged; the others are finished.
    """
    check_faiss_packages()
    store, wanted = open_store(out), tuple(seeds or file.seeds)
    with Stopper(again) as stopper:
        cluster = Cluster(_own_nodes(file, workers), stopper)
        try:
            nodes = cluster.nodes()
            memory = None if os.environ.get("RAY_ADDRESS") else psutil.virtual_memory().total
            check_study(file, nodes if os.environ.get("RAY_ADDRESS") else _real_nodes(nodes), memory_bytes=memory)
            study = begin_study(store, record_of(file), wanted)
            bring_to_end(study, wanted, _runner(study, cluster, nodes, workers), tell)
        except KeyboardInterrupt:
            stopper.disarm()
            raise StoppedError(stopper.message()) from None
        finally:
            cluster.close()


def _own_nodes(file: StudyFile, workers: int | None) -> tuple[Node, ...]:
    """The cluster that a study starts here: its cores, or as many tickets as the workers that were asked for need."""
    if file.cell.where == "ray":
        first = cells_of(file, file.seeds[:1])[0]
        return local_nodes(config_of(file, first))
    return (Node(cpus=max(os.cpu_count() or 1, (workers or 1) * file.cell.cpus), gpus=0),)


def _real_nodes(nodes: tuple[Node, ...]) -> tuple[Node, ...]:
    """Ray may be told of more CPUs than there are; a cell must fit on the real ones."""
    cores = float(os.cpu_count() or 1)
    return tuple(Node(cpus=min(node.cpus, cores), gpus=node.gpus) for node in nodes)


def _runner(study: Study, cluster: Cluster, nodes: Sequence[Node], workers: int | None) -> Runner:
    root, cell = study.store.root, study.file.cell
    if cell.where == "ray":
        return InProcess(root, _drive_cell)
    return _Tasks(root, cluster, cell, workers or sum(int(node.cpus // cell.cpus) for node in nodes))


@dataclass
class _Tasks:
    """Each cell a task of its own."""

    root: str
    cluster: Cluster
    cell: CellSettings
    most: int
    under_way: dict["ray.ObjectRef[None]", Job] = field(default_factory=dict)

    def has_room(self) -> bool:
        return len(self.under_way) < self.most

    def start(self, job: Job) -> None:
        self.cluster.connect()
        memory = None if self.cell.memory_gib is None else int(self.cell.memory_gib * _GIB)
        task = ray.remote(make_cell).options(
            num_cpus=self.cell.cpus, memory=memory, max_retries=0, name=f"study:{job.cell.key}"
        )
        self.under_way[task.remote(self.root, job)] = job

    def ended(self) -> list[Ended]:
        if not self.under_way:
            return []
        over, _ = ray.wait(list(self.under_way), timeout=_POLL_S)
        return [_ended(self.under_way.pop(task), task) for task in over]


def _ended(job: Job, task: "ray.ObjectRef[None]") -> Ended:
    try:
        ray.get(task)
    except RayTaskError as error:
        return Ended(job, error.cause)
    except RayError as error:
        # The process is gone: killed, or the machine is out of memory.
        return Ended(job, error)
    return Ended(job)


def _drive_cell(root: str, job: Job) -> None:
    """Bring a cell to its end as `rsir run` does."""
    config = config_of(read_study(open_store(root)).file, job.cell, passes=job.passes)
    run = Run(open_store(f"{root}/{job.cell.key}"), open_dataset(config.data.path), config)
    with open_run(run.store, run.config, run.dataset) as held:
        take_base(held, root, job)
    drive(run)
