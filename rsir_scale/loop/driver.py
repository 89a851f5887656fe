"""The recursion on Ray: one process drives, Ray Train fits, Ray Data generates, one after the other.

Comes in: a resolved config and a run directory. Goes out: the finished run. With RAY_ADDRESS set, as `ray job submit`
does, it uses that cluster; otherwise it starts one on this machine when the first phase needs it, so that a finished
run starts none. Between phases everything is released and waited for: Ray Train and Ray Data would starve each other.
"""

import gc
import logging
import os
import shlex
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import ray
import torch
from ray.exceptions import RayError

from rsir_scale.augmenters.opening import augmenter_of
from rsir_scale.config.augmenters import is_own_class
from rsir_scale.config.settings import Config
from rsir_scale.environment import check_faiss_packages, settle_ray
from rsir_scale.errors import ConfigError, ResumableError, RsirError
from rsir_scale.generation.learning import is_to_be_fitted
from rsir_scale.generation.pool import generate_with_ray
from rsir_scale.generation.trainer import fit_augmenter_with_ray
from rsir_scale.loop.line import ProgressLine
from rsir_scale.loop.preflight import Need, Node, check, check_settings, local_nodes, needs
from rsir_scale.loop.progress import GenerationLine, TrainingLine, phase
from rsir_scale.loop.recursion import Phases, run_recursion
from rsir_scale.loop.stop import StoppedError, Stopper
from rsir_scale.models.repository import try_teacher
from rsir_scale.runs.begun import is_run
from rsir_scale.runs.commits import missing_shards
from rsir_scale.runs.events import RUN_FAILED, RUN_STOPPED, append_event
from rsir_scale.runs.open_run import HeldRun, open_run
from rsir_scale.runs.plan import ShardPlan
from rsir_scale.runs.run import Run
from rsir_scale.runs.teacher import find_teacher, read_teacher
from rsir_scale.runs.trained import read_model
from rsir_scale.steps import Step, Tell
from rsir_scale.training.trainer import train_with_ray

_RELEASE_S = 120.0
_OBJECT_STORE_BYTES = 256 << 20


def drive(run: Run, *, line: ProgressLine | None = None) -> None:
    """Start or resume a run and bring it to its end.

    Raises:
        ConfigError: settings that cannot work here, or another run's directory; nothing was written.
        InputError: the folder holds something that is not a run, or the teacher does not fit.
        LeaseHeldError: another driver works on it.
        StoppedError: SIGINT or SIGTERM; its last line is the resuming command.
        ResumableError: a phase failed; the same call goes on from there.
        IntegrityError: the run directory holds something damaged.
    """
    check_faiss_packages()
    run = _with_absolute_paths(run)
    store, config = run.store, run.config
    # Evaluation in this process must not depend on how many cores the host has.
    torch.set_num_threads(config.training.threads)
    shown = line or ProgressLine()
    with Stopper(_again(run) if is_run(store) else "the same command, for nothing was begun") as stopper:
        cluster = Cluster(local_nodes(config), stopper)
        try:
            check_settings(config, run.dataset)
            check(config, cluster.nodes())
            _try_new_teacher(run)
            _drive(run, RayPhases(cluster, shown), stopper, shown.update)
        except KeyboardInterrupt:
            shown.close()
            stopper.disarm()
            raise StoppedError(stopper.message()) from None
        except RsirError:
            shown.close()
            cluster.close()
            raise
        cluster.close()


def _with_absolute_paths(run: Run) -> Run:
    """Name files so that workers find them, whatever folder they run in."""
    config = run.config
    model, vectors = config.model, config.model.item_vectors
    if vectors is not None:
        model = model.model_copy(update={"item_vectors": str(Path(vectors).resolve())})
    data = config.data.model_copy(update={"path": run.dataset.path})
    return replace(run, config=config.model_copy(update={"data": data, "model": model}))


def _try_new_teacher(run: Run) -> None:
    """Refuse a teacher that cannot be loaded before the run has taken it; afterwards the run's copy counts."""
    found = find_teacher(run.config, run.dataset) if read_teacher(run.store) is None else None
    if found is not None:
        try_teacher(found)


def _drive(run: Run, phases: Phases, stopper: Stopper, tell: Tell) -> None:
    with open_run(run.store, run.config, run.dataset) as opened:
        stopper.tell = partial(_tell, opened, RUN_STOPPED)
        stopper.last_line = _again(run)
        try:
            run_recursion(opened, phases, tell)
        except KeyboardInterrupt:
            _tell(opened, RUN_STOPPED)
            raise
        except Exception as error:
            _tell(opened, RUN_FAILED, error=str(error))
            raise


def _again(run: Run) -> str:
    """The command that goes on with a run: a class of the user's is imported only where it is named."""
    config = run.config
    backbone, augmenter = config.model.backbone, config.generation.augmenter
    own = f" --backbone {shlex.quote(backbone)}" if config.model.is_plugin else ""
    own += f" --augmenter {shlex.quote(augmenter)}" if is_own_class(augmenter) else ""
    return f"rsir resume {shlex.quote(run.store.root)}{own}"


def _tell(opened: HeldRun, event: str, **facts: str) -> None:
    """Add how this driver ended, unless another one drives by now; a full disk must not hide why it did."""
    with suppress(ResumableError):
        opened.lease.assert_held()
        append_event(opened.store, event, facts)


class Cluster:
    """The Ray cluster of a run: the one this process is in, that of RAY_ADDRESS, or one of our own, started late.

    Args:
        own: what a cluster of our own lends; one node.
        stopper: is told of Ray's start.
    """

    def __init__(self, own: tuple[Node, ...], stopper: Stopper) -> None:
        self._own = own
        self._stopper = stopper
        self._ours = False
        self._address = os.environ.get("RAY_ADDRESS")

    def nodes(self) -> tuple[Node, ...]:
        """What there is to run on; our own cluster is not started for the answer."""
        if not self._address and not ray.is_initialized():
            return self._own
        self.connect()
        nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
        alive = [node["Resources"] for node in nodes if node["Alive"]]
        return tuple(Node(cpus=found.get("CPU", 0), gpus=found.get("GPU", 0)) for found in alive)

    def connect(self) -> None:
        """Be connected; does nothing the second time.

        Raises:
            ResumableError: no cluster answers at RAY_ADDRESS.
        """
        if ray.is_initialized():
            return
        settle_ray()
        for name in ("ray.data", "ray.train"):
            logging.getLogger(name).setLevel(logging.ERROR)
        with self._stopper.around_ray():
            if self._address:
                _join(self._address)
            else:
                _start(*self._own)
        self._ours = True

    def wait_for(self, need: Need) -> None:
        """Wait until the phase before has let go of what this one needs.

        Raises:
            ResumableError: somebody holds it for two minutes.
        """
        deadline = time.monotonic() + _RELEASE_S
        while True:
            gc.collect()
            free: dict[str, float] = ray.available_resources()  # type: ignore[no-untyped-call]
            wanted = {"CPU": need.processes * need.cpus, "GPU": need.processes * need.gpus}
            missing = [f"{free.get(name, 0):g} of {n} {name}s" for name, n in wanted.items() if free.get(name, 0) < n]
            if not missing:
                return
            if time.monotonic() > deadline:
                raise ResumableError(
                    f"{need.phase} needs what is not free after {_RELEASE_S:.0f} s ({', '.join(missing)}): wait for "
                    f"the other jobs of the cluster, or lower {need.setting}, and run the same command again"
                )
            time.sleep(0.2)

    def close(self) -> None:
        """Leave a cluster that `connect` joined or started; a started one ends with that."""
        if self._ours:
            ray.shutdown()


def cluster_nodes(config: Config) -> tuple[Node, ...]:
    """The nodes of the cluster at RAY_ADDRESS. Raises ResumableError."""
    with Stopper("rsir plan") as stopper:
        cluster = Cluster(local_nodes(config), stopper)
        try:
            return cluster.nodes()
        finally:
            cluster.close()


def _join(address: str) -> None:
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except ValueError as error:
        raise ConfigError(
            f"RAY_ADDRESS={address} is no address of a cluster ({error}): write HOST:PORT of its head, such as "
            "10.0.0.1:6379, or unset RAY_ADDRESS to run here"
        ) from error
    except (ConnectionError, RuntimeError, RayError) as error:
        raise ResumableError(
            f"RAY_ADDRESS={address}: no Ray cluster answers ({error}): start it, or unset RAY_ADDRESS to run here"
        ) from error


def _start(node: Node) -> None:
    try:
        ray.init(
            address="local",
            num_cpus=int(node.cpus),
            num_gpus=int(node.gpus),
            object_store_memory=_OBJECT_STORE_BYTES,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except (RuntimeError, OSError, RayError) as error:
        raise ResumableError(
            f"Ray did not start on this machine ({error}): see to the cause and run the same command again"
        ) from error


@dataclass(frozen=True)
class RayPhases:
    """Both phases on a cluster, telling one progress line how far they are."""

    cluster: Cluster
    line: ProgressLine = field(default_factory=ProgressLine)

    def train(self, run: HeldRun, iteration: int) -> None:
        """Fit theta_k on Ray Train workers."""
        last = run.config.loop.iterations
        shown = TrainingLine(self.line, iteration=iteration, last=last)
        self.line.update(Step(phase(iteration, last, "training"), facts=("starting workers",)))
        self.cluster.connect()
        self.cluster.wait_for(needs(run.config)[0])
        train_with_ray(run, iteration, shown.update)
        model = read_model(run.store, iteration)
        shown.done(updates=model.updates, score=model.validation_score, seconds=model.train_s)

    def generate(self, run: HeldRun, plan: ShardPlan) -> None:
        """Commit the plan's missing shards on Ray Data actors."""
        missing = missing_shards(run.store, plan)
        if not missing:
            return
        self._learn(run, plan.iteration)
        last, shards = run.config.loop.iterations, len(plan.shards)
        shown = GenerationLine(
            self.line,
            iteration=plan.iteration,
            last=last,
            rows={shard.index: shard.rows for shard in missing},
            done=shards - len(missing),
            shards=shards,
        )
        self.line.update(Step(phase(plan.iteration, last, "generating"), facts=("starting actors",)))
        self.cluster.connect()
        self.cluster.wait_for(needs(run.config)[1])
        generate_with_ray(run, plan.iteration, missing, shown.update)
        shown.done()

    def _learn(self, run: HeldRun, iteration: int) -> None:
        """Fit what the augmenter learns on Ray Train workers, if it learns something."""
        if not is_to_be_fitted(augmenter_of(run, iteration)):
            return
        last, name = run.config.loop.iterations, "training the augmenter"
        shown = TrainingLine(self.line, iteration=iteration, last=last, name=name)
        self.line.update(Step(phase(iteration, last, name), facts=("starting workers",)))
        self.cluster.connect()
        self.cluster.wait_for(needs(run.config)[0])
        fit_augmenter_with_ray(run, iteration, shown.update)
