"""Item vectors as the diffusion sees them, and back from a vector to the nearest item.

Comes in: the frozen item vectors of the iteration's model. Goes out: each scaled to length sqrt(D), so that its entries
have the size of the noise; and, for any vector, the training item whose direction is nearest. Cosine is the authors'
measure; that vectors are scaled first is ours, for theirs are learned from the start, at the size of the noise.

Shapes: V items, D width, K training items, N vectors.
"""

import math

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from rsir_scale.data.sequences import Int32Array, Sequences
from rsir_scale.ranking.base import SearchQuery
from rsir_scale.ranking.build import exact_search


def scaled_vectors(items_VD: Tensor) -> Tensor:
    """Return float32 `[V + 1, D]` on the CPU, each row of length sqrt(D); row 0 is padding and 0."""
    scaled_VD = F.normalize(items_VD.detach().cpu().double(), dim=1) * math.sqrt(items_VD.shape[1])
    scaled_VD[0] = 0.0
    return scaled_VD.float()


def vectors_at(vectors_VD: Tensor, items: npt.NDArray[np.int32]) -> Tensor:
    """Return the vectors `[..., D]` of some items."""
    return vectors_VD[torch.from_numpy(items.astype(np.int64))]


def mean_vectors(vectors_VD: Tensor, sequences: Sequences) -> Tensor:
    """Return the mean vector of each sequence's items, float64 `[N, D]`; each has an item."""
    rows_TD = vectors_at(vectors_VD, sequences.items).double()
    offsets_N = torch.from_numpy(sequences.offsets[:-1])
    return F.embedding_bag(torch.arange(len(rows_TD)), rows_TD, offsets_N, mode="mean")


def first_vectors(vectors_VD: Tensor, sequences: Sequences) -> Tensor:
    """Return the vector of each sequence's first item, float64 `[N, D]`; each has one."""
    return vectors_at(vectors_VD, sequences.items[sequences.offsets[:-1]]).double()


class NearestItem:
    """The training item nearest to a vector, by cosine; of equally near ones the first.

    Args:
        vectors_VD: of `scaled_vectors`.
        items_K: the items that may be found, distinct and rising.

    Raises:
        IntegrityError: a vector is not finite.
    """

    def __init__(self, vectors_VD: Tensor, items_K: Int32Array) -> None:
        self._items_K = np.concatenate([np.zeros(1, np.int32), items_K])
        # All are of one length, so that the greatest inner product is the nearest direction.
        self._search = exact_search(vectors_at(vectors_VD, self._items_K))

    @property
    def name(self) -> str:
        """What scans the items."""
        return self._search.name

    def __call__(self, vector_ND: Tensor) -> Int32Array:
        """Return int32 `[N]` for float32 vectors on the CPU. Raises ArithmeticError: one is not finite."""
        query = SearchQuery.for_best(vector_ND, torch.zeros((len(vector_ND), 1), dtype=torch.int64))
        found = self._search.search(query, rank_threshold=1, top_candidates=1)
        nearest_N: Int32Array = self._items_K[found.candidate_BP[:, 0].numpy()]
        return nearest_N
