"""Counting is counting, also of a block that is a view into a larger one."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from rsir_scale.ranking.count import count_true


@given(rows=st.integers(0, 6), columns=st.integers(0, 300), seed=st.integers(0, 99))
def test_true_entries_are_counted_row_by_row(rows: int, columns: int, seed: int) -> None:
    mask = np.random.default_rng(seed).random((rows, columns)) < 0.3
    counted = count_true(torch.from_numpy(mask))
    assert counted.dtype == torch.int64
    assert counted.tolist() == [sum(row) for row in mask.tolist()]
    assert count_true(torch.from_numpy(mask)[:, ::2]).tolist() == [sum(row[::2]) for row in mask.tolist()]
