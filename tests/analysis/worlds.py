"""Small worlds for the analysis: sequences, and a run on a planted market."""

from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
from hypothesis import strategies as st

from rsir_scale.config.file import resolve
from rsir_scale.data.dataset import Sequences, open_dataset
from rsir_scale.data.sequences import offsets_of
from rsir_scale.data.synthetic import synthesize
from rsir_scale.loop.local import LocalPhases
from rsir_scale.loop.recursion import run_recursion
from rsir_scale.runs.open_run import open_run
from rsir_scale.storage.opening import open_store
from tests.loop.tiny_run import TinyRun


def sequences_of(rows: list[list[int]]) -> Sequences:
    """Put rows of items together, with ids that are not their places."""
    items = np.array([item for row in rows for item in row], dtype=np.int32)
    return Sequences(10 + np.arange(len(rows)), offsets_of([len(row) for row in rows]), items)


def rows(*, most: int = 12, items: int = 5) -> st.SearchStrategy[list[list[int]]]:
    """Up to 8 sequences of up to `most` of a few items."""
    return st.lists(st.lists(st.integers(1, items), max_size=most), max_size=8)


@cache
def market_run(*, mode: str, iterations: int) -> TinyRun:
    """A run of some generations on a planted market of seed 0, made once a process without Ray."""
    folder = Path(mkdtemp(prefix="rsir-test-"))
    synthesize(users=60, items=800, out=folder / "market", seed=0)
    dataset = open_dataset(folder / "market")
    config = resolve(
        {
            "data": {"path": str(dataset.path), "max_length": 12},
            "model": {"width": 16, "feed_forward": 16, "blocks": 1, "heads": 2, "dropout": 0.1},
            "training": {"max_epochs": 6, "batch_size": 16, "negatives": 32, "learning_rate": 0.02},
            "generation": {"trials_per_sequence": 2, "batch_size": 64, "top_candidates": 20},
            "fidelity": {"rank_threshold": 10, "mode": mode},
            "loop": {"iterations": iterations},
        }
    )
    store = open_store(folder / "run")
    with open_run(store, config, dataset) as run:
        run_recursion(run, LocalPhases())
    return TinyRun(store, dataset, config)
