"""Small worlds to diffuse in: items with equal vectors, sequences of all lengths, models that were never trained."""

from dataclasses import dataclass

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor

from rsir_scale.augmenters.diffuasr.denoiser import Denoiser
from rsir_scale.augmenters.diffuasr.extending import Extender
from rsir_scale.augmenters.diffuasr.learner import new_denoiser
from rsir_scale.augmenters.diffuasr.options import DiffuASROptions
from rsir_scale.augmenters.diffuasr.sampling import Sampler
from rsir_scale.augmenters.diffuasr.vectors import NearestItem, scaled_vectors
from rsir_scale.data.sequences import Sequences, offsets_of

USERS = 20


@dataclass(frozen=True)
class World:
    """All that decides what is written."""

    options: DiffuASROptions
    vectors_VD: Tensor
    known: list[int]
    sources: Sequences
    seed: int

    def model(self) -> Denoiser:
        """In float64, with weights large enough to matter."""
        model = new_denoiser(self.options, width=self.vectors_VD.shape[1], seed=self.seed).double().eval()
        draws = torch.Generator().manual_seed(self.seed)
        with torch.no_grad():
            for weight in model.parameters():
                weight.add_(torch.randn(weight.shape, generator=draws, dtype=weight.dtype) * 0.1)
        return model.requires_grad_(False)

    def extender(self, *, rows: int = 4) -> Extender:
        return Extender(
            options=self.options,
            sampler=Sampler(self.model(), self.options, rows=rows),
            vectors_VD=self.vectors_VD,
            nearest=NearestItem(self.vectors_VD, np.array(self.known, dtype=np.int32)),
            users=USERS,
            identity=self.identity,
        )

    @property
    def identity(self) -> tuple[int, int]:
        return self.seed, self.seed % 3


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """Any world."""
    options = DiffuASROptions(
        items=draw(st.integers(1, 3)),
        shorter_than=draw(st.integers(1, 6)),
        guidance=draw(st.sampled_from(["classifier_free", "classifier"])),
        guidance_scale=draw(st.sampled_from([0.0, 0.5, 2.0])),
        steps=50,
        sampling_steps=draw(st.integers(1, 3)),
    )
    seed, catalogue = draw(st.integers(0, 2**20)), draw(st.integers(1, 12))
    numbers = np.random.default_rng(seed)
    table_VD = numbers.normal(size=(catalogue + 1, draw(st.sampled_from([8, 9, 12]))))
    # Some items are alike.
    table_VD[1:] = table_VD[1 + numbers.integers(catalogue, size=catalogue)]
    known = draw(st.sets(st.integers(1, catalogue), min_size=1))
    lengths = draw(st.lists(st.integers(0, 7), min_size=1, max_size=4))
    ids = draw(st.lists(st.integers(0, 2 * USERS), min_size=len(lengths), max_size=len(lengths), unique=True))
    items = numbers.choice(sorted(known), size=sum(lengths)).astype(np.int32)
    return World(
        options=options,
        vectors_VD=scaled_vectors(torch.from_numpy(table_VD)),
        known=sorted(known),
        sources=Sequences(np.array(ids, dtype=np.int64), offsets_of(lengths), items),
        seed=seed,
    )
