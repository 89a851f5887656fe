"""How dense D_k is, against D_0 (paper Fig. 5a).

Comes in: the sequences of D_k, and where each has its first target. Goes out: pairs, and pairs / (U * V). A pair is a
(prefix, next item) that training predicts; the same one in two sequences counts twice, as it does in training.
"""

import numpy as np

from rsir_scale.data.sequences import Int64Array, Sequences


def pairs(sequences: Sequences, first_targets: Int64Array | None = None) -> int:
    """Count the pairs that training predicts.

    Args:
        sequences: D_k.
        first_targets: int64[N], position of each sequence's first item that is predicted; None: 1 for all.
    """
    first = np.ones(len(sequences), np.int64) if first_targets is None else first_targets
    return int(np.maximum(sequences.lengths - first, 0).sum())


def density(pair_count: int, *, users: int, items: int) -> float:
    """Pairs over users times items; may exceed 1, since written pairs count, too."""
    return pair_count / (users * items)
