"""DiffuASR: a diffusion model writes M items before each short sequence.

Comes in: sources. Goes out: each short one after M items that the model wrote, given the source. These items carry no
loss, and the row stands in place of its source. The model learns from the users' own sequences, never from rows that it
wrote. In later iterations the M items of an extended sequence are written again, by that iteration's model.

Where this differs from the authors' code:
- A source is training items alone. Theirs conditions on the validation item, too.
- Items are chosen among those of training sequences. Theirs chooses from the whole catalogue.
- Item vectors are those of the iteration's model, frozen. Theirs are learned with the diffusion.
- Classifier-free guidance learns with hidden sequences, as published by its authors. Theirs trains the guided sum.
- The classifier of the other guidance is learned with the diffusion, on noisy vectors, and pulls towards the source's
  first item. Theirs comes from files that are not published, and follows the gradient of a loss, away from that item.

Source: Liu et al., "Diffusion Augmentation for Sequential Recommendation", CIKM 2023.
"""

from collections.abc import Mapping

import numpy as np
from torch import Tensor

from rsir_scale.augmenters.base import Augmenter
from rsir_scale.augmenters.diffuasr.denoiser import Denoiser
from rsir_scale.augmenters.diffuasr.examples import Examples, long_enough
from rsir_scale.augmenters.diffuasr.extending import Extender
from rsir_scale.augmenters.diffuasr.learner import DiffusionLearner, new_denoiser
from rsir_scale.augmenters.diffuasr.options import DiffuASROptions, map_height
from rsir_scale.augmenters.diffuasr.sampling import Sampler
from rsir_scale.augmenters.diffuasr.vectors import NearestItem, scaled_vectors
from rsir_scale.augmenters.written import Written
from rsir_scale.config.settings import TEACHER, Config
from rsir_scale.data.dataset import PreparedDataset
from rsir_scale.data.sequences import Sequences
from rsir_scale.errors import ConfigError
from rsir_scale.models.repository import load_writing_model
from rsir_scale.training.learned import load_learned_weights
from rsir_scale.training.learner import Learner


class DiffuASR(Augmenter):
    """Diffusion over the vectors of the items before a sequence."""

    Options = DiffuASROptions
    replaces_source = True
    fixed_trials = 1

    @classmethod
    def check(cls, config: Config, dataset: PreparedDataset) -> None:
        """Refuse a width that makes no map, and a dataset without a sequence to learn from.

        Raises:
            ConfigError: value, rule and way out.
        """
        map_height(config.model.width)
        options = DiffuASROptions.model_validate(config.augmenter)
        sequences = dataset.training_sequences()
        if not len(long_enough(sequences, options)):
            raise ConfigError(
                f"augmenter.items={options.items} and augmenter.least_context={options.least_context} need a training "
                f"sequence of {options.least_length} items to learn from, and the longest has "
                f"{int(sequences.lengths.max(initial=0))}: lower one of the two"
            )

    @classmethod
    def reads(cls, config: Config) -> frozenset[str]:
        """The teacher, whose item vectors are used."""
        return super().reads(config) | {TEACHER}

    def learner(self) -> Learner[Denoiser]:
        """The fit of the diffusion model, on the users' own training sequences."""
        run, vectors_VD = self.run, self._vectors()
        return DiffusionLearner(
            Examples(run.dataset.training_sequences(), vectors_VD, self.options),
            self.options,
            training=run.config.training,
            identity=(run.config.seed, self.iteration),
        )

    def facts(self, counters: Mapping[str, int]) -> list[str]:
        """What the rows are, in words."""
        written, limit = counters.get("pseudo_items", 0), self.options.shorter_than
        return [f"a diffusion model wrote {written} items before sequences of fewer than {limit}; they carry no loss"]

    def open(self) -> None:
        """Load the model and the item vectors, and build the search for the nearest item.

        Raises:
            ObjectMissingError: the iteration has no model, or no diffusion model.
            IntegrityError: one of them is damaged.
            ConfigError: the item vectors' width makes no map.
        """
        run, vectors_VD = self.run, self._vectors()
        model = new_denoiser(self.options, width=vectors_VD.shape[1], seed=0)
        trained = load_learned_weights(run.store, self.iteration, model, device=self.device)
        self._extender = Extender(
            options=self.options,
            sampler=Sampler(trained, self.options),
            vectors_VD=vectors_VD,
            nearest=NearestItem(vectors_VD, np.unique(run.dataset.training_sequences().items)),
            users=run.dataset.meta.users,
            identity=(run.config.seed, self.iteration),
        )

    def write(self, sources: Sequences) -> Written:
        """Extend each short source."""
        return self._extender(sources)

    def _vectors(self) -> Tensor:
        return scaled_vectors(load_writing_model(self.run, self.iteration).item_vectors())
