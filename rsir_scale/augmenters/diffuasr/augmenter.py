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
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rsir_scale.augmenters.base import Augmenter
from rsir_scale.augmenters.diffuasr.examples import Examples, long_enough, without_first
from rsir_scale.augmenters.diffuasr.learner import DiffusionLearner, new_denoiser
from rsir_scale.augmenters.diffuasr.options import DiffuASROptions, map_height
from rsir_scale.augmenters.diffuasr.sampling import ROWS, Sampler, Start
from rsir_scale.augmenters.diffuasr.vectors import NearestItem, first_vectors, mean_vectors, scaled_vectors
from rsir_scale.augmenters.written import Written
from rsir_scale.config.settings import Config
from rsir_scale.data.dataset import PreparedDataset
from rsir_scale.data.sequences import Int32Array, Int64Array, Sequences, offsets_of
from rsir_scale.errors import ConfigError
from rsir_scale.models.repository import load_writing_model
from rsir_scale.randomness import Purpose, normals
from rsir_scale.runs.records import FileEntry
from rsir_scale.training.learned import learned_files, load_learned_weights
from rsir_scale.training.learner import Learner

LONG_ENOUGH, EMPTY = "long_enough", "empty"


class DiffuASR(Augmenter):
    """Diffusion over the vectors of the items before a sequence.

    Shapes: N short sources, M items written, B rows of a block, D width.
    """

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

    @property
    def options(self) -> DiffuASROptions:
        """Its settings."""
        return DiffuASROptions.model_validate(self.run.config.augmenter)

    def learner(self) -> Learner[Any]:
        """The fit of the diffusion model, on the users' own training sequences."""
        run, vectors_VD = self.run, self._vectors()
        return DiffusionLearner(
            Examples(run.dataset.training_sequences(), vectors_VD, self.options),
            self.options,
            training=run.config.training,
            identity=(run.config.seed, self.iteration),
        )

    def files(self) -> list[FileEntry]:
        """The diffusion model."""
        return learned_files(self.run.store, self.iteration)

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
        self._vectors_VD = self._vectors()
        model = new_denoiser(self.options, width=self._vectors_VD.shape[1], seed=0)
        model.load_state_dict(load_learned_weights(self.run.store, self.iteration))
        self._sampler = Sampler(model, self.options, device=self.device)
        self._nearest = NearestItem(self._vectors_VD, np.unique(self.run.dataset.training_sequences().items))

    def write(self, sources: Sequences) -> Written:
        """Extend each short source."""
        own = self._own(sources)
        is_long, is_empty = own.lengths >= self.options.shorter_than, own.lengths == 0
        chosen = np.flatnonzero(~is_long & ~is_empty)
        short = own.select(chosen)
        written_NM = self._items_before(short)
        offsets, items = _joined(written_NM, short)
        return Written(
            source=chosen,
            trial=np.zeros(len(chosen), dtype=np.int64),
            offsets=offsets,
            items=items,
            stops={LONG_ENOUGH: int(is_long.sum()), EMPTY: int(is_empty.sum())},
            first_target=np.full(len(chosen), self.options.items, dtype=np.int64),
            counters={"pseudo_items": written_NM.size},
            search=self._nearest.name,
        )

    def _own(self, sources: Sequences) -> Sequences:
        """The users' own items: a sequence that is no user's is one that this augmenter extended."""
        extended = sources.ids >= self.run.dataset.meta.users
        return without_first(sources, np.where(extended, np.minimum(sources.lengths, self.options.items), 0))

    def _items_before(self, short: Sequences) -> Int32Array:
        """The items `[N, M]` that the model writes before each sequence."""
        blocks = [np.empty((0, self.options.items), dtype=np.int32)]
        for first in range(0, len(short), ROWS):
            block = short.select(np.arange(first, min(first + ROWS, len(short))))
            sample_BMD = self._sampler(
                Start(
                    noise_BMD=self._noise(block.ids),
                    guide_BD=mean_vectors(self._vectors_VD, block),
                    first_BD=first_vectors(self._vectors_VD, block),
                )
            )
            blocks.append(self._nearest(sample_BMD.flatten(0, 1)).reshape(len(block), -1))
        return np.concatenate(blocks)

    def _noise(self, ids: Int64Array) -> Tensor:
        """Standard normal numbers `[B, M, D]`, by source and position."""
        shape = (self.options.items, self._vectors_VD.shape[1])
        place_MD = np.arange(shape[0] * shape[1]).reshape(shape)
        trial = 0
        key = (self.run.config.seed, self.iteration, ids[:, None, None], trial, place_MD, Purpose.NOISE)
        return torch.from_numpy(normals(*key))

    def _vectors(self) -> Tensor:
        run = self.run
        model = load_writing_model(run.store, run.config.generation, self.iteration, item_name=run.dataset.item_name)
        return scaled_vectors(model.item_vectors())


def _joined(written_NM: Int32Array, short: Sequences) -> tuple[Int64Array, Int32Array]:
    """Offsets and items of the rows: what was written, then the sequence."""
    count = written_NM.shape[1]
    offsets = offsets_of(short.lengths + count)
    place_NM = offsets[:-1, None] + np.arange(count)
    is_own = np.ones(offsets[-1], dtype=np.bool_)
    is_own[place_NM] = False
    items = np.empty(offsets[-1], dtype=np.int32)
    items[place_NM] = written_NM
    items[is_own] = short.items
    return offsets, items
