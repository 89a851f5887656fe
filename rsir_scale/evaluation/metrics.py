"""Metrics of one held-out item per user, from its rank alone.

With a single relevant item Recall@n is 1 when the rank is at most n, Precision@n is Recall@n / n, F1@n their harmonic
mean, NDCG@n is 1 / log2(1 + rank) and MRR@n is 1 / rank within the cutoff, 0 beyond it. A metric is the
mean over users; F1 is the mean of per-user F1.
"""

import numpy as np
import numpy.typing as npt

CUTOFFS = (10, 20)
Ranks = npt.NDArray[np.int64]


def beyond_cutoffs(item_count: int) -> int:
    """The rank of what cannot be recommended: the last of the catalogue, and no hit in a small one either."""
    return max(item_count, max(CUTOFFS) + 1)


def per_user(ranks: Ranks, *, metric: str, cutoff: int) -> npt.NDArray[np.float64]:
    """Return one metric for each user.

    Args:
        ranks: ranks of the held-out items over the full catalogue, at least 1; any shape.
        metric: one of NDCG, Recall, Precision, F1, MRR.
        cutoff: the n of metric@n.
    """
    hit = ranks <= cutoff
    match metric:
        case "NDCG":
            value = 1.0 / np.log2(1.0 + ranks)
        case "MRR":
            value = 1.0 / ranks
        case "Recall":
            value = np.ones(ranks.shape)
        case "Precision":
            value = np.full(ranks.shape, 1.0 / cutoff)
        case "F1":
            value = np.full(ranks.shape, 2.0 / (cutoff + 1.0))
        case _:
            raise ValueError(f"metric {metric!r} is none of NDCG, Recall, Precision, F1, MRR")
    return np.where(hit, value, 0.0)


def summarise(ranks: Ranks, *, prefix: str) -> dict[str, float]:
    """Return the user means of all metrics at all cutoffs, keyed like `validation/NDCG@20`."""
    return {
        f"{prefix}/{metric}@{cutoff}": float(per_user(ranks, metric=metric, cutoff=cutoff).mean())
        if len(ranks)
        else 0.0
        for metric in ("NDCG", "Recall", "Precision", "F1", "MRR")
        for cutoff in CUTOFFS
    }
