"""What a run spent in optimiser updates."""

from rsir_scale.runs.learned import has_learned, read_learned
from rsir_scale.runs.manifest import read_chain
from rsir_scale.runs.trained import read_model
from rsir_scale.storage.base import Store


def updates_spent(store: Store) -> tuple[int, int]:
    """Updates of a run's recommenders, and of what its augmenter fitted. Raises IntegrityError."""
    iterations = range(len(read_chain(store)))
    learned = [iteration for iteration in iterations if has_learned(store, iteration)]
    return (
        sum(read_model(store, iteration).updates for iteration in iterations),
        sum(read_learned(store, iteration).updates for iteration in learned),
    )
