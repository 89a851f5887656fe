"""Which sequences make up which optimiser update, and their tensors.

A pass over the data is shuffled by identity, cut into mega-batches, sorted by length inside each and dealt out in a
shuffled order: a batch then holds sequences of similar length and pads little, while the order of lengths stays random.
Update u of a run always sees the same rows, whoever computes it.

Shapes: B rows, L positions, T targets (the real ones of a batch).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rsir_scale.data.dataset import Sequences
from rsir_scale.models.inputs import pad_latest
from rsir_scale.randomness import Purpose, generator

_BATCHES_PER_MEGA_BATCH = 16
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Batch:
    """One update's share of a worker.

    Attributes:
        context_BL: int64, right-padded with 0.
        target_BL: the item after each position; 0 where there is none.
        weight_B: float32 loss weight of each row.
    """

    context_BL: Tensor
    target_BL: Tensor
    weight_B: Tensor

    def to(self, device: torch.device) -> "Batch":
        """Copy the batch to a device."""
        return Batch(self.context_BL.to(device), self.target_BL.to(device), self.weight_B.to(device))


def trainable_rows(sequences: Sequences) -> Rows:
    """Rows with at least one (context, target) pair."""
    return np.flatnonzero(sequences.lengths >= 2)


def updates_per_pass(rows: int, batch_size: int) -> int:
    """Optimiser updates in one pass over `rows` sequences."""
    return -(-rows // batch_size)


def pass_batches(lengths: npt.NDArray[np.int64], rows: Rows, *, batch_size: int, key: tuple[int, ...]) -> list[Rows]:
    """Deal the rows of one pass over the data into batches.

    Args:
        lengths: length of every sequence, by row.
        rows: rows to deal, each once.
        batch_size: rows a batch; only the last of the pass may hold fewer.
        key: identity of the pass (seed, iteration, pass).
    """
    draw = generator(*key, Purpose.SHUFFLE)
    order = draw.permutation(rows)
    mega = batch_size * _BATCHES_PER_MEGA_BATCH
    batches: list[Rows] = []
    for start in range(0, len(order), mega):
        chunk = order[start : start + mega]
        chunk = chunk[np.argsort(lengths[chunk], kind="stable")]
        batches += [chunk[first : first + batch_size] for first in range(0, len(chunk), batch_size)]
    return [batches[index] for index in draw.permutation(len(batches))]


def make_batch(sequences: Sequences, rows: Rows, *, max_length: int, weights: npt.NDArray[np.float32]) -> Batch:
    """Build the tensors of a batch: the latest `max_length + 1` items of each row, shifted by one."""
    padded = pad_latest(sequences, rows, max_length=max_length + 1)
    target_BL = padded[:, 1:]
    return Batch(
        context_BL=torch.where(target_BL > 0, padded[:, :-1], 0),
        target_BL=target_BL.contiguous(),
        weight_B=torch.from_numpy(weights[rows]),
    )
