"""A tiny market to run on; workers of the cluster can be told to fail."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rsir_scale.config.file import resolve
from rsir_scale.config.settings import Config
from rsir_scale.data.dataset import PreparedDataset, open_dataset
from rsir_scale.data.synthetic import synthesize
from rsir_scale.loop.local import LocalPhases
from rsir_scale.loop.recursion import Phases, run_recursion
from rsir_scale.runs.begun import stored_run
from rsir_scale.runs.content import digest
from rsir_scale.runs.open_run import open_run
from rsir_scale.runs.run import Run
from rsir_scale.storage.opening import open_store

Make = Callable[..., Config]


@pytest.fixture(scope="session")
def market(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    """200 users, 100 items."""
    folder = tmp_path_factory.mktemp("market") / "data"
    synthesize(users=200, items=100, out=folder, seed=1)
    return open_dataset(folder)


@pytest.fixture(scope="session")
def settings(market: PreparedDataset) -> Make:
    """A config whose run takes a second, Ray aside; keyword arguments replace sections' keys."""

    def make(**sections: dict[str, object]) -> Config:
        raw: dict[str, dict[str, object]] = {
            "data": {"path": str(market.path)},
            "model": {"width": 16, "feed_forward": 16, "dropout": 0.1},
            "training": {"batch_size": 32, "max_epochs": 4, "loss": "cross_entropy"},
            "generation": {"shard_sources": 32, "trials_per_sequence": 2},
        }
        return resolve({name: raw.get(name, {}) | sections.get(name, {}) for name in {*raw, *sections}})

    return make


@pytest.fixture
def order(fault_folder: Path) -> Iterator[Path]:
    """The folder of faults, empty again afterwards."""
    yield fault_folder
    for file in fault_folder.iterdir():
        file.unlink()


def asked(config: Config, run_dir: Path) -> Run:
    """What `rsir run` hands to the driver."""
    return Run(open_store(run_dir), open_dataset(config.data.path), config)


def complete(config: Config, run_dir: Path, phases: Phases) -> None:
    """Run to the end."""
    with open_run(open_store(run_dir), config, open_dataset(config.data.path)) as run:
        run_recursion(run, phases)


def finish(config: Config, run_dir: Path, phases: Phases) -> str:
    """Run to the end and recompute the digest from the rows."""
    complete(config, run_dir, phases)
    found = digest(stored_run(open_store(run_dir)))
    assert found is not None
    return found


@pytest.fixture(scope="session")
def local_digest(settings: Make, tmp_path_factory: pytest.TempPathFactory) -> str:
    """What one process without Ray commits."""
    return finish(settings(), tmp_path_factory.mktemp("local") / "run", LocalPhases())
