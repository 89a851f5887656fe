"""From noise to M item vectors for each sequence: DDIM, guided.

A row's result must not depend on the rows beside it, yet products over other numbers of rows may differ in their last
bits. So the model runs in float64, always on the same number of rows, and the sample is rounded to float32, far more
coarsely than those bits, before an item is chosen by it.

Shapes: B rows, M items, D width.
Source: Song et al., "Denoising Diffusion Implicit Models", 2021; Ho and Salimans, "Classifier-Free Diffusion Guidance",
2022; Dhariwal and Nichol, "Diffusion Models Beat GANs on Image Synthesis", 2021 (classifier guidance).
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from rsir_scale.augmenters.diffuasr.denoiser import Denoiser
from rsir_scale.augmenters.diffuasr.options import DiffuASROptions
from rsir_scale.augmenters.diffuasr.schedule import kept_signal, step_back, visited_steps

_ROWS = 32


@dataclass(frozen=True)
class Start:
    """What B samples begin with, in float64.

    Attributes:
        noise_BMD: standard normal numbers.
        guide_BD: the mean vector of each sequence.
        first_BD: the vector of its first item, which classifier guidance goes by.
    """

    noise_BMD: Tensor
    guide_BD: Tensor
    first_BD: Tensor


class Sampler:
    """Writes samples with a trained model, which becomes the sampler's own.

    Args:
        model: the trained model, where it is to run.
        options: those that it was trained with.
        rows: how many it always samples together.
    """

    def __init__(self, model: Denoiser, options: DiffuASROptions, *, rows: int = _ROWS) -> None:
        self.rows = rows
        self._model = model.double().eval().requires_grad_(False)
        self._options = options
        self._kept_T = kept_signal(options.steps).tolist()

    def __call__(self, start: Start) -> Tensor:
        """Return float32 `[B, M, D]` on the CPU, for at most `rows` rows."""
        count = len(start.noise_BMD)
        device = self._model.hidden_D.device
        x_BMD, guide_BD, first_BD = (
            self._filled(values).to(device) for values in (start.noise_BMD, start.guide_BD, start.first_BD)
        )
        steps = visited_steps(self._options.steps, self._options.sampling_steps)
        kept = [self._kept_T[step] for step in steps]
        for step, (here, after) in zip(steps, pairwise([*kept, 1.0]), strict=True):
            noise_BMD = self._noise(x_BMD, step, guide_BD, first_BD)
            x_BMD = step_back(x_BMD, noise_BMD, kept=here, kept_next=after)
        return x_BMD[:count].float().cpu()

    @torch.no_grad()
    def _noise(self, x_BMD: Tensor, step: int, guide_BD: Tensor, first_BD: Tensor) -> Tensor:
        """The noise that the guided model sees."""
        scale = self._options.guidance_scale
        step_B = torch.full((len(x_BMD),), step, device=x_BMD.device)
        if self._options.guidance == "classifier":
            pull_BMD = self._towards_first(x_BMD, step_B, first_BD)
            spread = (1.0 - self._kept_T[step]) ** 0.5
            pulled_BMD: Tensor = self._model(x_BMD, step_B, guide_BD) - scale * spread * pull_BMD
            return pulled_BMD
        hidden_BD = self._model.hidden_D.expand_as(guide_BD)
        both_BMD = self._model(x_BMD.repeat(2, 1, 1), step_B.repeat(2), torch.cat([guide_BD, hidden_BD]))
        with_BMD, without_BMD = both_BMD.chunk(2)
        guided_BMD: Tensor = with_BMD + scale * (with_BMD - without_BMD)
        return guided_BMD

    def _towards_first(self, x_BMD: Tensor, step_B: Tensor, first_BD: Tensor) -> Tensor:
        """The gradient of the log-likelihood of the first item's vector, normal around the classifier's guess."""
        with torch.inference_mode(False), torch.enable_grad():
            leaf_BMD = x_BMD.clone().requires_grad_()
            error_BD = self._model.first_item(leaf_BMD, step_B.clone()) - first_BD.clone()
            (pull_BMD,) = torch.autograd.grad(-0.5 * error_BD.square().sum(), leaf_BMD)
        return pull_BMD

    def _filled(self, values: Tensor) -> Tensor:
        """Rows of zeros put after the given ones."""
        filled = values.new_zeros((self.rows, *values.shape[1:]))
        filled[: len(values)] = values
        return filled
