"""Short sources, and the items that are written before them.

Comes in: sources, and a sampler. Goes out: rows. Of a source that was extended in an earlier iteration, the first M
items are left out, for they are not the user's. So pseudo items never carry loss, guide the model or pile up.

Shapes: N short sources, M items written, B rows of a block, D width.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rsir_scale.augmenters.diffuasr.examples import without_first
from rsir_scale.augmenters.diffuasr.options import DiffuASROptions
from rsir_scale.augmenters.diffuasr.sampling import Sampler, Start
from rsir_scale.augmenters.diffuasr.vectors import NearestItem, first_vectors, mean_vectors
from rsir_scale.augmenters.written import Written
from rsir_scale.data.sequences import Int32Array, Int64Array, Sequences, offsets_of
from rsir_scale.randomness import Purpose, normals

LONG_ENOUGH, EMPTY = "long_enough", "empty"
_TRIAL = 0  # the only one


@dataclass(frozen=True)
class Extender:
    """What extends any sources of one iteration.

    Attributes:
        options: of the augmenter.
        sampler: of the iteration's diffusion model.
        vectors_VD: of `vectors.scaled_vectors`.
        nearest: finds the items.
        users: sequence ids below it are users' own sequences; others were extended before.
        identity: (seed, iteration).
    """

    options: DiffuASROptions
    sampler: Sampler
    vectors_VD: Tensor
    nearest: NearestItem
    users: int
    identity: tuple[int, int]

    def __call__(self, sources: Sequences) -> Written:
        """Write a row for each source that is short, and has an item."""
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
            search=self.nearest.name,
        )

    def _own(self, sources: Sequences) -> Sequences:
        """The users' own items."""
        extended = sources.ids >= self.users
        return without_first(sources, np.where(extended, np.minimum(sources.lengths, self.options.items), 0))

    def _items_before(self, short: Sequences) -> Int32Array:
        """The items `[N, M]` that the model writes before each sequence."""
        blocks = [np.empty((0, self.options.items), dtype=np.int32)]
        for first in range(0, len(short), self.sampler.rows):
            block = short.select(np.arange(first, min(first + self.sampler.rows, len(short))))
            sample_BMD = self.sampler(
                Start(
                    noise_BMD=self._noise(block.ids),
                    guide_BD=mean_vectors(self.vectors_VD, block),
                    first_BD=first_vectors(self.vectors_VD, block),
                )
            )
            blocks.append(self.nearest(sample_BMD.flatten(0, 1)).reshape(len(block), -1))
        return np.concatenate(blocks)

    def _noise(self, ids: Int64Array) -> Tensor:
        """Standard normal numbers `[B, M, D]`, by source and position."""
        shape = (self.options.items, self.vectors_VD.shape[1])
        place_MD = np.arange(shape[0] * shape[1]).reshape(shape)
        key = (*self.identity, ids[:, None, None], _TRIAL, place_MD, Purpose.NOISE)
        return torch.from_numpy(normals(*key))


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
