"""A small market that studies and timings are tried on."""

from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np

from rsir_scale.data.dataset import PreparedDataset, Sequences, open_dataset
from rsir_scale.data.sequences import offsets_of
from rsir_scale.data.synthetic import synthesize

USERS, ITEMS, LENGTH = 257, 80, 20


@cache
def market() -> PreparedDataset:
    """257 users and 80 items; made once for all tests of a process."""
    folder = Path(mkdtemp(prefix="rsir-test-")) / "market"
    synthesize(users=USERS, items=ITEMS, out=folder, seed=3)
    return open_dataset(folder)


def sequences_of(rows: list[list[int]]) -> Sequences:
    """Put rows of items together."""
    items = np.array([item for row in rows for item in row], dtype=np.int32)
    return Sequences(np.arange(len(rows)), offsets_of([len(row) for row in rows]), items)
