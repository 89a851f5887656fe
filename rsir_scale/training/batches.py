"""Which sequences make up which optimiser update, and their tensors.

A pass over the data is shuffled by identity and cut into batches, so that an update is a fair sample: batches of like
lengths would pad less, but a target of a short sequence then weighs more than one of a long sequence. Padding is saved
inside a batch instead, whose rows are sorted by length and encoded in parts.
Update u of a run always sees the same rows, whoever computes it.

Shapes: B rows, L positions, T targets (the real ones of a batch).
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rsir_scale.data.dataset import Sequences
from rsir_scale.models.inputs import Part, pad_latest, parts_by_length
from rsir_scale.randomness import Purpose, generator

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Batch:
    """One update's share of a worker.

    Attributes:
        context_BL: int64, right-padded with 0, shorter contexts first.
        target_BL: the item after each position; 0 where there is none.
        weight_B: float32 loss weight of each row.
        parts: rows whose contexts are of similar length, in order.
    """

    context_BL: Tensor
    target_BL: Tensor
    weight_B: Tensor
    parts: list[Part]

    def to(self, device: torch.device) -> "Batch":
        """Copy the batch to a device."""
        return replace(
            self,
            context_BL=self.context_BL.to(device),
            target_BL=self.target_BL.to(device),
            weight_B=self.weight_B.to(device),
        )


def trainable_rows(sequences: Sequences) -> Rows:
    """Rows with at least one (context, target) pair."""
    return np.flatnonzero(sequences.lengths >= 2)


def updates_per_pass(rows: int, batch_size: int) -> int:
    """Optimiser updates in one pass over `rows` sequences."""
    return -(-rows // batch_size)


def pass_batches(rows: Rows, *, batch_size: int, key: tuple[int, ...]) -> list[Rows]:
    """Deal the rows of one pass over the data into batches.

    Args:
        rows: rows to deal, each once.
        batch_size: rows a batch; only the last of the pass may hold fewer.
        key: identity of the pass (seed, iteration, pass).
    """
    order = generator(*key, Purpose.SHUFFLE).permutation(rows)
    return [order[first : first + batch_size] for first in range(0, len(order), batch_size)]


def make_batch(sequences: Sequences, rows: Rows, *, max_length: int, weights: npt.NDArray[np.float32]) -> Batch:
    """Build the tensors of a batch: the latest `max_length + 1` items of each row, shifted by one."""
    length_B = np.minimum(sequences.offsets[rows + 1] - sequences.offsets[rows] - 1, max_length)
    order_B = np.argsort(length_B, kind="stable")
    rows = rows[order_B]
    padded = pad_latest(sequences, rows, max_length=max_length + 1)
    target_BL = padded[:, 1:]
    return Batch(
        context_BL=torch.where(target_BL > 0, padded[:, :-1], 0),
        target_BL=target_BL.contiguous(),
        weight_B=torch.from_numpy(weights[rows]),
        parts=parts_by_length(length_B[order_B]),
    )
