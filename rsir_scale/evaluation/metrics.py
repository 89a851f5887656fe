"""Metrics of one held-out item per user, from its rank alone.

With a single relevant item Recall@n and HitRate@n are 1 when the rank is at most n, Precision@n is Recall@n / n, F1@n
their harmonic mean, NDCG@n is 1 / log2(1 + rank), MRR@n and MAP@n are 1 / rank within the cutoff, 0 beyond it. A metric
is the mean over users; F1 is the mean of per-user F1. A new metric is one line of `METRICS`: `evaluation.metrics` then
knows it, and runs recorded without it stay valid, since verification recomputes what a run recorded and no more.
What top-n lists say without a held-out item is the business of `analysis.lists`.
"""

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from rsir_scale.config.settings import CUTOFFS, EvaluationConfig
from rsir_scale.errors import ConfigError, shown
from rsir_scale.runs.selection import SELECTION_CUTOFF, SELECTION_NAME

Ranks = npt.NDArray[np.int64]
Values = npt.NDArray[np.float64]


def _one(ranks: Ranks, _: int) -> Values:
    return np.ones(ranks.shape)


def _reciprocal(ranks: Ranks, _: int) -> Values:
    return np.asarray(1.0 / ranks)


# What a hit is worth by its rank and the cutoff; whatever lies beyond the cutoff is worth nothing.
METRICS: Mapping[str, Callable[[Ranks, int], Values]] = MappingProxyType(
    {
        "NDCG": lambda ranks, _: 1.0 / np.log2(1.0 + ranks),
        "Recall": _one,
        "Precision": lambda ranks, cutoff: np.full(ranks.shape, 1.0 / cutoff),
        "F1": lambda ranks, cutoff: np.full(ranks.shape, 2.0 / (cutoff + 1.0)),
        "MRR": _reciprocal,
        "HitRate": _one,
        "MAP": _reciprocal,
    }
)
_NAME = re.compile(r"([^@]+)@([1-9][0-9]{0,8})")


def check_metrics(config: EvaluationConfig, item_count: int) -> None:
    """Refuse metrics that this version does not know, and cutoffs within which a masked item would count as a hit.

    Args:
        config: what to record.
        item_count: V.

    Raises:
        ConfigError: the setting, the rule and the way out.
    """
    unknown = next((name for name in config.metrics if name not in METRICS), None)
    if unknown is not None:
        raise ConfigError(
            f"evaluation.metrics names {shown(unknown)}, which is none of {', '.join(METRICS)}: leave it out"
        )
    greatest = max(config.cutoffs)
    if greatest >= beyond_cutoffs(item_count):
        raise ConfigError(
            f"evaluation.cutoffs has {greatest}, and the catalogue {item_count} items, all of which would be within "
            f"it: give cutoffs below {beyond_cutoffs(item_count)}"
        )


def beyond_cutoffs(item_count: int) -> int:
    """The rank of what cannot be recommended: the last of the catalogue, and no hit in a small one either."""
    return max(item_count, max(CUTOFFS) + 1)


def per_user(ranks: Ranks, *, metric: str, cutoff: int) -> Values:
    """Return one metric for each user.

    Args:
        ranks: ranks of the held-out items over the full catalogue, at least 1 and exact up to the cutoff; any shape.
        metric: one of `METRICS`.
        cutoff: the n of metric@n.
    """
    if metric not in METRICS:
        raise ValueError(f"metric {metric!r} is none of {', '.join(METRICS)}")
    return np.where(ranks <= cutoff, METRICS[metric](ranks, cutoff), 0.0)


def mean_of(ranks: Ranks, name: str) -> float | None:
    """Return the user mean of a metric by its recorded name, such as `NDCG@20`; None for an unknown one."""
    found = _NAME.fullmatch(name)
    if found is None or found[1] not in METRICS:
        return None
    return float(per_user(ranks, metric=found[1], cutoff=int(found[2])).mean()) if len(ranks) else 0.0


def summarise(ranks: Ranks, config: EvaluationConfig, *, prefix: str) -> dict[str, float]:
    """Return the user means of the metrics to record at all cutoffs, keyed like `validation/NDCG@20`.

    What a run is judged by is among them, whatever the settings name.
    """
    names = [f"{metric}@{cutoff}" for metric in config.metrics for cutoff in config.cutoffs]
    names = list(dict.fromkeys([*names, f"{SELECTION_NAME}@{SELECTION_CUTOFF}"]))
    means = {name: mean_of(ranks, name) for name in names}
    return {f"{prefix}/{name}": mean for name, mean in means.items() if mean is not None}
