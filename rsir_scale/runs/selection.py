"""What "best" means: the metric by which a fit keeps its weights, a run names its best iteration and a recursion ends.

Comes in: manifests. Goes out: an iteration. It stands here, without torch, because the status of a run needs it as much
as its training and its evaluation.
"""

from collections.abc import Sequence

from rsir_scale.runs.manifest import Manifest

SELECTION_NAME, SELECTION_CUTOFF = "NDCG", 20
SELECTION_METRIC = f"validation/{SELECTION_NAME}@{SELECTION_CUTOFF}"


def best_iteration(manifests: Sequence[Manifest]) -> int | None:
    """The iteration with the highest validation NDCG@20, the earliest of equals; None before any is evaluated."""
    scored = [
        (manifest.metrics[SELECTION_METRIC], -manifest.iteration)
        for manifest in manifests
        if SELECTION_METRIC in manifest.metrics
    ]
    return -max(scored)[1] if scored else None
