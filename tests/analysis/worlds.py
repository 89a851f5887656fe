"""Small worlds of sequences for the analysis."""

import numpy as np
from hypothesis import strategies as st

from rsir_scale.data.dataset import Sequences
from rsir_scale.data.sequences import offsets_of


def sequences_of(rows: list[list[int]]) -> Sequences:
    """Put rows of items together, with ids that are not their places."""
    items = np.array([item for row in rows for item in row], dtype=np.int32)
    return Sequences(10 + np.arange(len(rows)), offsets_of([len(row) for row in rows]), items)


def rows(*, most: int = 12, items: int = 5) -> st.SearchStrategy[list[list[int]]]:
    """Up to 8 sequences of up to `most` of a few items."""
    return st.lists(st.lists(st.integers(1, items), max_size=most), max_size=8)
