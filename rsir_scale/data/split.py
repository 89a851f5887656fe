"""Leave-one-out: a user's last item is the test target, the one before it the validation target, the rest trains.

A user with fewer than 3 interactions only trains: holding two of them out would leave nothing to train on.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rsir_scale.data.sequences import Int32Array, Int64Array, Sequences, offsets_of

MIN_TO_HOLD_OUT = 3
LEAVE_ONE_OUT = "leave-one-out"


@dataclass(frozen=True, eq=False)
class Split:
    """N sequences, split.

    Attributes:
        training: what may train, same ids.
        in_training: bool, for each item of the whole sequences: is it in `training`.
        last: int64[N], position of each sequence's last item among the whole sequences' items.
        validation: int32[N], 0 where the user has none.
        test: int32[N], 0 where the user has none.
    """

    training: Sequences
    in_training: npt.NDArray[np.bool_]
    last: Int64Array
    validation: Int32Array
    test: Int32Array


def hold_out_last(sequences: Sequences, held_out: npt.NDArray[np.bool_] | None = None) -> Split:
    """Split whole sequences, none of them empty: the last item of a row is for test, the one before it for validation.

    Args:
        sequences: N whole sequences.
        held_out: bool[N], whose last two items are held out; None: leave-one-out, of everyone with 3 items or more.
    """
    lengths = sequences.lengths
    held_out = lengths >= MIN_TO_HOLD_OUT if held_out is None else held_out
    last = sequences.offsets[1:] - 1
    in_training = np.ones(len(sequences.items), dtype=np.bool_)
    in_training[last[held_out]] = False
    in_training[last[held_out] - 1] = False
    training = Sequences(sequences.ids, offsets_of(lengths - 2 * held_out), sequences.items[in_training])
    none = np.int32(0)
    return Split(
        training=training,
        in_training=in_training,
        last=last,
        validation=np.where(held_out, sequences.items[np.maximum(last - 1, 0)], none),
        test=np.where(held_out, sequences.items[last], none),
    )


def put_back(training: Sequences, validation: npt.NDArray[np.integer], test: npt.NDArray[np.integer]) -> Sequences:
    """Return whole sequences again: `hold_out_last` undone.

    Args:
        training: N sequences.
        validation: N items, in the order of the sequences; 0 where a user has none.
        test: the same, of the last item.
    """
    held_out = test > 0
    ends = np.repeat(training.offsets[1:][held_out], 2)
    added = np.stack([validation, test], axis=1)[held_out].ravel()
    return Sequences(training.ids, offsets_of(training.lengths + 2 * held_out), np.insert(training.items, ends, added))


def keep_last(sequences: Sequences, count: int) -> tuple[Sequences, npt.NDArray[np.bool_]]:
    """Cut each sequence to its last `count` items; also returns, for each item, whether it was kept."""
    lengths = sequences.lengths
    positions = np.arange(len(sequences.items), dtype=np.int64)
    kept = positions >= np.repeat(sequences.offsets[1:] - count, lengths)
    return Sequences(sequences.ids, offsets_of(np.minimum(lengths, count)), sequences.items[kept]), kept
