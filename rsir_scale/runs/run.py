"""A run as everything that works on it is given it: where it lies, on which data, by which settings."""

from dataclasses import dataclass

from rsir_scale.config.settings import Config
from rsir_scale.data.dataset import PreparedDataset
from rsir_scale.storage.base import Store


@dataclass(frozen=True)
class Run:
    """A run; `runs.open_run.HeldRun` is one that this process drives."""

    store: Store
    dataset: PreparedDataset
    config: Config
