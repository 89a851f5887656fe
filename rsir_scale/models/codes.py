"""Codes for items: a few small numbers each, shared by items that are alike (TIGER, Rajput et al., NeurIPS 2023).

Comes in: the training sequences, or vectors that the user has. Goes out: for each item M codes by residual k-means, the
first the coarsest, and one more that numbers the items which share all M. Nothing of this is learned by gradient.
Vectors from sequences are right singular vectors of the matrix of who had what, its rows and columns divided by the
fourth roots of their sums. Divided by the square roots, 1.9 to 7 times as many items of Toys, Beauty and Sports share
all their codes.

Shapes: V items, S sequences, M codebooks, d dimensions.
"""

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from rsir_scale.data.dataset import Sequences
from rsir_scale.errors import ConfigError
from rsir_scale.models.kmeans import Float32Matrix, k_means
from rsir_scale.randomness import Purpose, derive_seed, generator

_ROUNDS = 20
_POWER_ROUNDS = 4
_MOST_VALUES = (
    4096  # on Toys a third of the items is better than SASRec, a twelfth and fewer are worse (docs/results.md)
)
Codes = npt.NDArray[np.int64]


def residual_codes(vector_Vd: Float32Matrix, *, codebooks: int, size: int, seed: int) -> Codes:
    """Return `[V, M]` codes in 0..size-1: the nearest mean, then the nearest to what it leaves, and so on.

    An item whose vector is zero, of which nothing is known, gets a random one: such items would share all codes.

    Raises:
        ConfigError: fewer items than a codebook has values.
    """
    require_codebook_fits(size, len(vector_Vd))
    rest_Vd = _known(vector_Vd, seed)
    code_VM = np.empty((len(rest_Vd), codebooks), dtype=np.int64)
    for level in range(codebooks):
        mean_Cd, code_VM[:, level] = k_means(rest_Vd, size, rounds=_ROUNDS, seed=derive_seed(seed, level))
        rest_Vd = rest_Vd - mean_Cd[code_VM[:, level]]
    return code_VM


def numbered(code_VM: Codes, *, size: int) -> Codes:
    """Append a code that numbers, from 0, the items which share all the others: `[V, M + 1]`, no two rows alike.

    Raises:
        ConfigError: more than `size` items share all codes.
    """
    _, group_V, count_G = np.unique(code_VM, axis=0, return_inverse=True, return_counts=True)
    group_V = group_V.reshape(-1)
    if count_G.max() > size:
        raise ConfigError(
            f"{count_G.max()} items share all their codes, and a code has {size} values to tell them apart "
            f"(model.codebooks={code_VM.shape[1]}, model.codebook_size={size}): set a codebook_size of "
            f"{count_G.max()} or more, or more codebooks if their vectors differ"
        )
    order_V = np.argsort(group_V, kind="stable")
    number_V = np.empty(len(group_V), dtype=np.int64)
    number_V[order_V] = np.arange(len(group_V)) - np.repeat(np.cumsum(count_G) - count_G, count_G)
    return np.concatenate([code_VM, number_V[:, None]], axis=1)


def codebook_values(size: int | None, item_count: int) -> int:
    """How many values a code has: as many as were asked for, or a third of the items, 2..4,096."""
    return size or min(_MOST_VALUES, max(2, item_count // 3))


def require_codebook_fits(size: int, item_count: int) -> None:
    """Refuse a codebook that has more values than there are items. Raises ConfigError."""
    if size > item_count:
        raise ConfigError(
            f"model.codebook_size={size} is more than the catalogue has items, {item_count}: set 2..{item_count}"
        )


def collaborative_vectors(sequences: Sequences, *, item_count: int, width: int, seed: int) -> Float32Matrix:
    """Return `[V, d]`: items that the same sequences hold lie near each other; d is `width`, or as many as there are.

    Vectors have length one, but for zeros where no sequence holds the item.
    """
    row = np.repeat(np.arange(len(sequences)), sequences.lengths)
    pair = np.unique(row * (item_count + 1) + sequences.items)
    row, column = np.divmod(pair, item_count + 1)
    column -= 1
    in_row = np.bincount(row, minlength=len(sequences))
    in_column = np.bincount(column, minlength=item_count)
    value = ((in_row[row].astype(np.float64) * in_column[column]) ** -0.25).astype(np.float32)
    matrix_SV = torch.sparse_coo_tensor(
        torch.from_numpy(np.stack([row, column])),
        torch.from_numpy(value),
        (len(sequences), item_count),
        check_invariants=False,
    ).coalesce()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        most = min(width, len(sequences), item_count)
        _, weight_d, vector_Vd = torch.svd_lowrank(matrix_SV, q=most, niter=_POWER_ROUNDS)
    # The shortest vectors would share codes whatever their direction.
    found: Float32Matrix = F.normalize(vector_Vd * weight_d).numpy()
    found[in_column == 0] = 0.0
    return found


def _known(vector_Vd: Float32Matrix, seed: int) -> Float32Matrix:
    unknown_V = ~vector_Vd.any(axis=1)
    known_Vd = vector_Vd.astype(np.float32, copy=True)
    spread = float(known_Vd[~unknown_V].std()) if not unknown_V.all() else 1.0
    draws = generator(seed, Purpose.PREPARE).standard_normal((int(unknown_V.sum()), vector_Vd.shape[1]))
    known_Vd[unknown_V] = draws * (spread or 1.0)
    return known_Vd
