"""Which sequences make up which optimiser update, and their tensors.

A pass over the data is shuffled by identity and cut into batches, so that an update is a fair sample: batches of like
lengths would pad less, but a target of a short sequence then weighs more than one of a long sequence. Padding is saved
inside a batch instead, whose rows are sorted by length and encoded in parts.
Real and synthetic sequences are shuffled together, as in the paper; or synthetic ones come on top of the real ones of
an update, as a fixed share of them, so that every real sequence is seen as often as without any.
Update u of a run always sees the same rows, whoever computes it.

Shapes: B rows, L positions, T targets (the real ones of a batch).
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rsir_scale.data.dataset import Sequences
from rsir_scale.models.inputs import pad_latest
from rsir_scale.models.packed import PackedContexts, pack
from rsir_scale.randomness import Purpose, generator

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Batch:
    """One update's share of a worker.

    Attributes:
        contexts: what is read, shorter contexts first.
        target_BL: the item after each position; 0 where there is none.
        weight_B: float32 loss weight of each row.
    """

    contexts: PackedContexts
    target_BL: Tensor
    weight_B: Tensor

    def to(self, device: torch.device) -> "Batch":
        """Copy the batch to a device."""
        return replace(
            self,
            contexts=self.contexts.to(device),
            target_BL=self.target_BL.to(device),
            weight_B=self.weight_B.to(device),
        )


def trainable_rows(sequences: Sequences) -> Rows:
    """Rows with at least one (context, target) pair."""
    return np.flatnonzero(sequences.lengths >= 2)


def updates_per_pass(rows: int, batch_size: int) -> int:
    """Optimiser updates in one pass over `rows` sequences."""
    return -(-rows // batch_size)


class Updates:
    """The rows of each update of a fit.

    Args:
        sequences: D_k.
        real_count: ids below it are real, or stand in the place of real ones.
        batch_size: rows an update; real ones alone where there is a share.
        synthetic_share: synthetic rows of an update for each real one; None: all are shuffled together.
        identity: of the fit.
    """

    def __init__(
        self,
        sequences: Sequences,
        *,
        real_count: int,
        batch_size: int,
        synthetic_share: float | None,
        identity: tuple[int, ...],
    ) -> None:
        rows = trainable_rows(sequences)
        apart = synthetic_share is not None
        is_base = sequences.ids[rows] < real_count if apart else np.ones(len(rows), dtype=bool)
        self._base, self._beside = rows[is_base], rows[~is_base]
        # A pass brings no synthetic sequence twice: where there are too few, the share is smaller.
        self._beside_count = min(len(self._beside), round((synthetic_share or 0.0) * len(self._base)))
        self._batch_size = batch_size
        self._identity = identity
        self._pass: tuple[int, list[Rows]] = (-1, [])

    def rows(self, update: int) -> Rows:
        """Return the rows of an update, the first being 0."""
        number, index = divmod(update, updates_per_pass(len(self._base), self._batch_size))
        if self._pass[0] != number:
            self._pass = (number, self._deal(number))
        return self._pass[1][index]

    def _deal(self, number: int) -> list[Rows]:
        key = (*self._identity, number)
        batches = pass_batches(self._base, batch_size=self._batch_size, key=key)
        if self._beside_count == 0:
            return batches
        drawn = generator(*key, Purpose.MIX).permutation(self._beside)[: self._beside_count]
        # In proportion, so that a short last batch has a short company.
        cuts = np.cumsum([len(batch) for batch in batches[:-1]]) * self._beside_count // len(self._base)
        return [np.concatenate(pair) for pair in zip(batches, np.split(drawn, cuts), strict=True)]


def pass_batches(rows: Rows, *, batch_size: int, key: tuple[int, ...]) -> list[Rows]:
    """Deal the rows of one pass over the data into batches.

    Args:
        rows: rows to deal, each once.
        batch_size: rows a batch; only the last of the pass may hold fewer.
        key: identity of the pass: that of the fit, and its number.
    """
    order = generator(*key, Purpose.SHUFFLE).permutation(rows)
    return [order[first : first + batch_size] for first in range(0, len(order), batch_size)]


def target_counts(sequences: Sequences, rows: Rows, *, max_length: int, first_targets: Rows | None) -> Rows:
    """int64[B], how many items of each row are predicted: at most `max_length`, and none before its first target."""
    lengths = sequences.offsets[rows + 1] - sequences.offsets[rows]
    targets = lengths - 1 if first_targets is None else lengths - first_targets[rows]
    return np.asarray(np.minimum(targets, max_length))


def make_batch(
    sequences: Sequences,
    rows: Rows,
    *,
    max_length: int,
    weights: npt.NDArray[np.float32],
    first_targets: Rows | None = None,
    dropout_key: int = 0,
) -> Batch:
    """Build the tensors of a batch: the latest `max_length + 1` items of each row, shifted by one.

    Args:
        sequences: N sequences.
        rows: which of them, 2 items or more each.
        max_length: items of context.
        weights: float32[N].
        first_targets: int64[N], position of the first item that is predicted; None: 1 for all.
        dropout_key: of the update; a token drops by it, its sequence and its position.
    """
    length_B = np.minimum(sequences.offsets[rows + 1] - sequences.offsets[rows] - 1, max_length)
    order_B = np.argsort(length_B, kind="stable")
    rows = rows[order_B]
    padded = pad_latest(sequences, rows, max_length=max_length + 1)
    target_BL = padded[:, 1:]
    context_BL = torch.where(target_BL > 0, padded[:, :-1], 0)
    if first_targets is not None:
        counted_B = target_counts(sequences, rows, max_length=max_length, first_targets=first_targets)
        silent_B1 = torch.from_numpy(length_B[order_B] - counted_B)[:, None]
        target_BL = target_BL.masked_fill(torch.arange(target_BL.shape[1]) < silent_B1, 0)
    return Batch(
        contexts=pack(context_BL, identity_B=sequences.ids[rows], key=dropout_key),
        target_BL=target_BL.contiguous(),
        weight_B=torch.from_numpy(weights[rows]),
    )
