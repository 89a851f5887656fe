"""What the diffusion learns from: the first M items of a training sequence, given those after them.

Comes in: training sequences, long enough to have both. Goes out: the noisy vectors of an update, drawn from the
identity of the update alone, so that any number of workers see the same ones. The authors take every longer sequence
once, with its first items as the target; so does this.

Shapes: B rows, M items, D width.
"""

from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rsir_scale.augmenters.diffuasr.options import DiffuASROptions
from rsir_scale.augmenters.diffuasr.schedule import kept_signal, with_noise
from rsir_scale.augmenters.diffuasr.vectors import first_vectors, mean_vectors, vectors_at
from rsir_scale.data.sequences import Sequences, offsets_of

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Noisy:
    """Examples with noise in them.

    Attributes:
        x_BMD: float32, the noisy vectors.
        noise_BMD: float32, the noise in them.
        step_B: int64, 0..T-1, how much.
        guide_BD: float32, the mean vector of the items after them.
        hidden_B: rows that hide it.
        first_BD: float32, the vector of the first item after them.
    """

    x_BMD: Tensor
    noise_BMD: Tensor
    step_B: Tensor
    guide_BD: Tensor
    hidden_B: Tensor
    first_BD: Tensor

    def share(self, rank: int, of: int) -> "Noisy":
        """Every `of`-th row, from row `rank` on."""
        return replace(self, **{field.name: getattr(self, field.name)[rank::of] for field in fields(self)})

    def to(self, device: torch.device) -> "Noisy":
        """Copy to a device."""
        return replace(self, **{field.name: getattr(self, field.name).to(device) for field in fields(self)})


class Examples:
    """The examples that training sequences hold.

    Args:
        sequences: training sequences.
        vectors_VD: of `vectors.scaled_vectors`.
        options: M, the fewest items after them, and the noise.
    """

    def __init__(self, sequences: Sequences, vectors_VD: Tensor, options: DiffuASROptions) -> None:
        self.sequences = sequences.select(long_enough(sequences, options))
        self.vectors_VD = vectors_VD
        self._options = options
        self._kept_T = kept_signal(options.steps)

    def __len__(self) -> int:
        return len(self.sequences)

    def noisy(self, rows: Rows, *, seed: int) -> Noisy:
        """Put noise into the examples of some rows, which `seed` decides with their order."""
        options, draws = self._options, torch.Generator().manual_seed(seed)
        target_BM = self.sequences.offsets[rows, None] + np.arange(options.items)
        clean_BMD = vectors_at(self.vectors_VD, self.sequences.items[target_BM])
        after = without_first(self.sequences.select(rows), options.items)
        # Steps in pairs that add up to T - 1, as the authors draw them: updates are then more alike.
        half_B = torch.randint(options.steps, (-(-len(rows) // 2),), generator=draws)
        step_B = torch.cat([half_B, options.steps - 1 - half_B])[: len(rows)]
        noise_BMD = torch.randn(clean_BMD.shape, generator=draws)
        hides = options.drop_condition if options.guidance == "classifier_free" else 0.0
        return Noisy(
            x_BMD=with_noise(clean_BMD, noise_BMD, self._kept_T[step_B].float()),
            noise_BMD=noise_BMD,
            step_B=step_B,
            guide_BD=mean_vectors(self.vectors_VD, after).float(),
            hidden_B=torch.rand(len(rows), generator=draws) < hides,
            first_BD=first_vectors(self.vectors_VD, after).float(),
        )


def long_enough(sequences: Sequences, options: DiffuASROptions) -> Rows:
    """Rows of the sequences that an example can be made of."""
    return np.flatnonzero(sequences.lengths >= options.least_length)


def without_first(sequences: Sequences, counts: npt.ArrayLike) -> Sequences:
    """Copy sequences without their first items.

    Args:
        sequences: N of them.
        counts: how many items each loses, or all; at most its length.
    """
    gone = np.broadcast_to(np.asarray(counts, dtype=np.int64), len(sequences))
    offsets = offsets_of(sequences.lengths - gone)
    shift = np.repeat(sequences.offsets[:-1] + gone - offsets[:-1], np.diff(offsets))
    return Sequences(sequences.ids, offsets, sequences.items[np.arange(offsets[-1]) + shift])
