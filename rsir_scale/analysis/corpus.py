"""How dense and how predictable the D_k is that theta_k was trained on.

Comes in: a run and k. Goes out: one JSON-ready mapping, a row of `rsir analyse` and of a run's page. It needs no torch.
"""

from dataclasses import asdict
from typing import Any

from rsir_scale.analysis.density import density, pairs
from rsir_scale.analysis.entropy import corpus_entropy, sequence_entropy, window_count
from rsir_scale.data.dataset import Sequences
from rsir_scale.runs.lineage import load, load_first_targets, training_files
from rsir_scale.runs.run import Run


def corpus_of(run: Run, iteration: int, real: Sequences) -> dict[str, Any]:
    """Describe D_k by its files: what training reads.

    Args:
        run: of the iteration.
        iteration: k.
        real: D_0; the corpus value at equal size is over as many windows as it has.

    Raises:
        IntegrityError: a file of D_k is missing or damaged.
    """
    dataset, files = run.dataset, training_files(run, iteration)
    sequences = load(run, files)
    count = pairs(sequences, load_first_targets(run, files))
    entropy = sequence_entropy(sequences)
    return {
        "iteration": iteration,
        "sequences": len(sequences),
        "pairs": count,
        "density": density(count, users=dataset.meta.users, items=dataset.meta.items),
        "density_growth": count / max(1, dataset.meta.training_pairs) - 1.0,
        **{f"apen_{name}": value for name, value in asdict(entropy).items()},
        "corpus_entropy": corpus_entropy(sequences),
        "corpus_entropy_equal_size": corpus_entropy(sequences, windows=window_count(real)),
    }
