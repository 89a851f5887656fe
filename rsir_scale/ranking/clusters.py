"""The catalogue in clusters, so that a check may look at a few of them only (paper Sec. D.5).

Comes in: an item table. Goes out: a cluster for each item and, for each cluster, a vector under which the inner product
with a query says how near the cluster is. Inner products become distances by one more coordinate (Bachrach et al.,
RecSys 2014, "Speeding up the Xbox recommender system"): an item (x, sqrt(M² - |x|²)), M the greatest norm, is the
nearer to a query (q, 0) the greater q·x is. K-means runs on those. The nearest centroids c have the greatest
q·c - |c|²/2, an inner product again, with (q, 1): the exact search itself finds the clusters to probe.

Shapes: B rows, C clusters, D width, N probed clusters, V items.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from rsir_scale.errors import ConfigError
from rsir_scale.models.kmeans import Float32Matrix, k_means
from rsir_scale.ranking.base import require_finite_items
from rsir_scale.ranking.faiss import faiss_k_means, has_faiss

Maker = Literal["faiss", "scikit-learn"]
_ROUNDS, _WARM_ROUNDS = 10, 3


@dataclass(frozen=True)
class Clusters:
    """Which cluster each item is in, and what tells how near a cluster is.

    Attributes:
        cluster_V: int32, 0..C-1, of item 1 first.
        probe_CD: float32 `[C, D + 1]`; the nearest clusters are those of the greatest product with (query, 1).
    """

    cluster_V: Tensor
    probe_CD: Tensor

    def __len__(self) -> int:
        """C, empty clusters included."""
        return len(self.probe_CD)

    def lists(self, items_VD: Tensor) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
        """Return the items, cluster after cluster and by falling norm within each, and where each cluster begins."""
        cluster_V = self.cluster_V.cpu().numpy()
        norm_V = items_VD.detach()[1:].norm(dim=1).cpu().numpy()
        order_V = np.lexsort((-norm_V, cluster_V))
        begin_C = np.zeros(len(self) + 1, dtype=np.int64)
        np.cumsum(np.bincount(cluster_V, minlength=len(self)), out=begin_C[1:])
        return (order_V + 1).astype(np.int32), begin_C


def maker_here() -> Maker:
    """Return what makes clusters here: FAISS where it is installed. The two make different clusters, equally good."""
    return "faiss" if has_faiss() else "scikit-learn"


def make_clusters(
    items_VD: Tensor, *, clusters: int, seed: int, start: Clusters | None = None, maker: Maker | None = None
) -> Clusters:
    """Cluster a catalogue by k-means, on the CPU.

    Args:
        items_VD: `[V + 1, D]`; row 0 is padding.
        clusters: C, 1..V.
        seed: of the items that centroids start from.
        start: clusters of an earlier table of the same catalogue; with as many of them, their means start the rounds,
            and fewer rounds do.
        maker: what runs k-means; None for `maker_here()`.

    Raises:
        ConfigError: more clusters than items, or FAISS is asked for and not installed.
        IntegrityError: a vector is not finite.
    """
    item_count = len(items_VD) - 1
    if not 1 <= clusters <= item_count:
        raise ConfigError(
            f"fidelity.clusters={clusters} is not in 1..{item_count}, the catalogue size: leave it out, or set fewer"
        )
    require_finite_items(items_VD)
    vectors = _lengthened(items_VD.detach()[1:].float().cpu().numpy())
    warm = start is not None and (len(start), len(start.cluster_V)) == (clusters, item_count)
    by = faiss_k_means if (maker or maker_here()) == "faiss" else k_means
    means, cluster_V = by(
        vectors,
        clusters,
        rounds=_WARM_ROUNDS if warm else _ROUNDS,
        seed=seed,
        start_Cd=_means(vectors, start) if warm and start is not None else None,
    )
    centroid_CD = torch.from_numpy(means)
    offset_C1 = centroid_CD.square().sum(1, keepdim=True) / -2
    return Clusters(torch.from_numpy(cluster_V), torch.cat([centroid_CD[:, :-1], offset_C1], 1))


def probe_query(query_BD: Tensor) -> Tensor:
    """Return (query, 1) for each query, `[B, D + 1]`."""
    return F.pad(query_BD, (0, 1), value=1.0)


def _lengthened(item_VD: Float32Matrix) -> Float32Matrix:
    square_V = np.einsum("vd,vd->v", item_VD, item_VD)
    missing_V = np.sqrt(np.maximum(square_V.max() - square_V, 0))
    return np.concatenate([item_VD, missing_V[:, None]], axis=1)


def _means(vectors: Float32Matrix, start: Clusters) -> Float32Matrix:
    """Where the earlier clusters' items are now; an empty cluster starts at 0, and k-means may give it items."""
    cluster_V = start.cluster_V.numpy()
    total = np.zeros((len(start), vectors.shape[1]), dtype=np.float64)
    order_V = np.argsort(cluster_V, kind="stable")
    count_C = np.bincount(cluster_V, minlength=len(start))
    filled = np.flatnonzero(count_C)
    first = (np.cumsum(count_C) - count_C)[filled]
    total[filled] = np.add.reduceat(vectors[order_V], first, axis=0, dtype=np.float64)
    return (total / np.maximum(count_C, 1)[:, None]).astype(np.float32)
