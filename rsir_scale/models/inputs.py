"""From sequences in memory to padded tensors: the one place where rows of different lengths become a rectangle.

Shapes: B rows, L positions (the longest row's, after the cut to `max_length`).
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rsir_scale.data.dataset import Sequences


def pad_latest(sequences: Sequences, rows: npt.NDArray[np.int64], *, max_length: int) -> Tensor:
    """Return the latest `max_length` items of the given rows, `[B, L]` int64 on the CPU, right-padded with 0."""
    stops = sequences.offsets[rows + 1]
    lengths = np.minimum(stops - sequences.offsets[rows], max_length)
    width = int(lengths.max(initial=0))
    positions = np.arange(width)
    inside = positions < lengths[:, None]
    where = np.where(inside, (stops - lengths)[:, None] + positions, 0)
    if len(sequences.items) == 0:
        return torch.zeros((len(rows), width), dtype=torch.int64)
    return torch.from_numpy(np.where(inside, sequences.items[where], 0).astype(np.int64))


def blocks_by_length(lengths: npt.NDArray[np.int64], *, rows: int) -> list[npt.NDArray[np.int64]]:
    """Split row numbers into blocks of at most `rows`, shortest first, so that a block pads little."""
    order = np.argsort(lengths, kind="stable")
    return [order[start : start + rows] for start in range(0, len(order), rows)]
