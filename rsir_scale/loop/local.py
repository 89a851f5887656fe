"""The recursion in one process, without Ray: for tests, for studies over many seeds, and for machines without it.

It computes on the CPU, so a config that asks for a GPU is refused.
"""

from collections.abc import Callable
from dataclasses import dataclass

from rsir_scale.config.settings import Config
from rsir_scale.errors import ConfigError
from rsir_scale.generation.shard import generate_locally
from rsir_scale.loop.preflight import needs
from rsir_scale.runs.open_run import HeldRun
from rsir_scale.runs.plan import ShardPlan
from rsir_scale.training.epoch import Progress
from rsir_scale.training.iteration import train_iteration
from rsir_scale.training.worker import Worker


@dataclass(frozen=True)
class LocalPhases:
    """Both phases in this process; `report` is called after each validation of a training."""

    report: Callable[[Progress], None] | None = None

    def train(self, run: HeldRun, iteration: int) -> None:
        """Fit as the only worker. Raises ConfigError: a GPU is asked for, in either phase."""
        _refuse_gpus(run.config)
        train_iteration(run, iteration, worker=Worker(), report=self.report)

    def generate(self, run: HeldRun, plan: ShardPlan) -> None:
        """Compute the missing shards one after another. Raises ConfigError: a GPU is asked for, in either phase."""
        _refuse_gpus(run.config)
        generate_locally(run, plan, report=self.report)


def _refuse_gpus(config: Config) -> None:
    for need in needs(config):
        if need.gpus:
            raise ConfigError(
                f"{need.phase}.use_gpu=true, but without Ray everything is computed on the CPU: set "
                f"{need.phase}.use_gpu=false, or give the config to `rsir run`"
            )
