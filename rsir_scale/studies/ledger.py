"""What each arm spent: a gain that costs three times as much is another gain.

Comes in: finished runs of one arm. Goes out: means over them. `updates` are all optimiser updates, theta_0's and the
augmenter's included, as though the arm had trained its own base; `seconds` are wall time of fitting and writing on the
machine that made the cell: theta_0's fit, `retrain_seconds` of the fits after it, and `generate_seconds`, within which
is what an augmenter learned.
"""

from collections.abc import Sequence

import numpy as np

from rsir_scale.runs.manifest import read_chain
from rsir_scale.storage.base import Store
from rsir_scale.studies.spent import updates_spent

_FIT, _WRITE = "train_s", "generate_s"  # what an augmenter learns is within the second


def ledger_of(stores: Sequence[Store]) -> dict[str, float]:
    """Return mean updates, seconds, trials and what was written, of one run or several. Raises IntegrityError."""
    entries = [_entry(store) for store in stores]
    return {name: float(np.mean([entry[name] for entry in entries])) for name in entries[0]}


def _entry(store: Store) -> dict[str, float]:
    recommenders, learners = updates_spent(store)
    chain = read_chain(store)
    written = [manifest.generation for manifest in chain if manifest.generation is not None]
    fits, writing = ([manifest.timings.get(name, 0.0) for manifest in chain] for name in (_FIT, _WRITE))
    return {
        "updates": recommenders + learners,
        "learner_updates": learners,
        "seconds": sum(fits) + sum(writing),
        "retrain_seconds": sum(fits[1:]),
        "generate_seconds": sum(writing),
        "trials": sum(generation.counters.get("trials", 0) for generation in written),
        "sequences": sum(generation.rows for generation in written),
        "pairs": sum(generation.pairs for generation in written),
    }
