"""From the name in a run's settings to the augmenter that writes its sequences."""

import numpy as np

from rsir_scale.augmenters.base import Augmenter
from rsir_scale.augmenters.written import BoolArray
from rsir_scale.config.augmenters import augmenter_class, options_of
from rsir_scale.config.file import deviations
from rsir_scale.config.settings import READ_BY_SOME, TEACHER, Config, GenerationConfig
from rsir_scale.runs.run import Run


def augmenter_named(config: Config) -> type[Augmenter]:
    """The class that a run's settings name. Raises ConfigError: it cannot be imported, or refuses its options."""
    options_of(config)
    found: type[Augmenter] = augmenter_class(config.generation.augmenter)
    return found


def augmenter_of(run: Run, iteration: int, *, device: str = "cpu") -> Augmenter:
    """The augmenter of an iteration, not opened yet. Raises ConfigError as `augmenter_named` does."""
    return augmenter_named(run.config)(run, iteration, device=device)


def unread_settings(config: Config) -> list[str]:
    """Facts for the manifest: settings that somebody chose and that the named augmenter does not read."""
    generation = config.generation
    chosen = {*deviations(config)}
    # No deviations: a teacher is known by its weights, and a preset is what others are compared with.
    chosen |= {TEACHER} if generation.teacher is not None else set()
    chosen |= {"generation.reading"} if generation.reading != GenerationConfig().reading else set()
    unread = sorted(chosen & READ_BY_SOME - augmenter_named(config).reads(config))
    return [f"{', '.join(unread)}: generation.augmenter={generation.augmenter} does not read this"] if unread else []


def known_items(augmenter: Augmenter) -> BoolArray | None:
    """bool[V + 1], the items that its rows may hold: those of training sequences; None: the whole catalogue."""
    if augmenter.beyond_training_items:
        return None
    dataset = augmenter.run.dataset
    known_V = np.zeros(dataset.meta.items + 1, dtype=np.bool_)
    known_V[dataset.training_sequences().items] = True
    return known_V
