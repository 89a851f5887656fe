"""How much noise each step holds, and which steps a sample visits.

Betas rise linearly from 1e-4 to .02 over 1,000 steps, and in proportion over another number of them. All in float64.

Shapes: T steps, B rows, M items, D width.
Source: Ho et al., "Denoising Diffusion Probabilistic Models", 2020; Song et al., "Denoising Diffusion Implicit Models",
2021 (deterministic: no noise is added on the way back).
"""

import torch
from torch import Tensor

_FIRST_BETA, _LAST_BETA, _STEPS = 1e-4, 0.02, 1000


def kept_signal(steps: int) -> Tensor:
    """Return the share of the signal's variance that is left after each step, float64 `[T]`, falling in (0, 1).

    Args:
        steps: T, 50 or more.
    """
    scale = _STEPS / steps
    beta_T = torch.linspace(scale * _FIRST_BETA, scale * _LAST_BETA, steps, dtype=torch.float64)
    return torch.cumprod(1.0 - beta_T, 0)


def visited_steps(steps: int, sampling_steps: int) -> list[int]:
    """The steps that a sample visits, falling, evenly spread from 0 on: 800, 600, 400, 200, 0 of 1,000."""
    return [steps * index // sampling_steps for index in reversed(range(sampling_steps))]


def with_noise(x_BMD: Tensor, noise_BMD: Tensor, kept_B: Tensor) -> Tensor:
    """Mix rows with noise so that their share `kept_B` of the variance is left."""
    kept_B11 = kept_B[:, None, None]
    return kept_B11.sqrt() * x_BMD + (1.0 - kept_B11).sqrt() * noise_BMD


def step_back(x_BMD: Tensor, noise_BMD: Tensor, *, kept: float, kept_next: float) -> Tensor:
    """Take a sample from one visited step to the next by DDIM.

    Args:
        x_BMD: the sample.
        noise_BMD: the noise that the model sees in it.
        kept: share of the signal at this step.
        kept_next: share at the next one; 1 after the last.
    """
    clean_BMD = (x_BMD - (1.0 - kept) ** 0.5 * noise_BMD) / kept**0.5
    after_BMD: Tensor = kept_next**0.5 * clean_BMD + (1.0 - kept_next) ** 0.5 * noise_BMD
    return after_BMD
