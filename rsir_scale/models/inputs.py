"""From sequences in memory to padded tensors: how rows of different lengths become rectangles that pad little.

Shapes: B rows, L positions (the longest row's, after the cut to `max_length`).
"""

import itertools
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rsir_scale.data.dataset import Sequences

# Rows of up to this many items are one part.
_SHORT = 4


class Part(NamedTuple):
    """Rows of similar length, and the length of the longest."""

    rows: slice
    longest: int


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


def parts_by_length(length_B: npt.NDArray[np.int64]) -> list[Part]:
    """Cut rows sorted by length where they pass four items, eight, sixteen and so on: few parts, which pad little."""
    doublings_B = np.ceil(np.log2(np.maximum(length_B, _SHORT)))
    edges = [0, *(np.flatnonzero(np.diff(doublings_B)) + 1).tolist(), len(length_B)]
    return [Part(slice(low, high), int(length_B[high - 1])) for low, high in itertools.pairwise(edges)]
