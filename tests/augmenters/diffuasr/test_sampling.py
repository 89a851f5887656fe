"""Samples: one row is one row, whoever shares its batch."""

import pytest
import torch
from torch import Tensor

from rsir_scale.augmenters.diffuasr.learner import new_denoiser
from rsir_scale.augmenters.diffuasr.options import DiffuASROptions
from rsir_scale.augmenters.diffuasr.sampling import Sampler, Start

ROWS, ITEMS, WIDTH = 8, 2, 16


def sampler(**options: object) -> Sampler:
    settings = DiffuASROptions.model_validate({"items": ITEMS, "sampling_steps": 3, **options})
    return Sampler(new_denoiser(settings, width=WIDTH, seed=4), settings, rows=ROWS)


def start(rows: int = ROWS) -> Start:
    draws = torch.Generator().manual_seed(1)
    shapes = [(rows, ITEMS, WIDTH), (rows, WIDTH), (rows, WIDTH)]
    return Start(*(torch.randn(shape, generator=draws, dtype=torch.float64) for shape in shapes))


def some(values: Start, rows: list[int]) -> Start:
    return Start(values.noise_BMD[rows], values.guide_BD[rows], values.first_BD[rows])


@pytest.mark.parametrize("guidance", ["classifier_free", "classifier"])
@pytest.mark.parametrize("rows", [[3], [7, 0], [5, 1, 2, 6, 3, 0, 4, 7]])
def test_a_sample_is_the_same_to_the_bit_wherever_its_row_stands(guidance: str, rows: list[int]) -> None:
    write = sampler(guidance=guidance)
    assert torch.equal(write(some(start(), rows)), write(start())[rows])


def test_samples_are_written_in_inference_mode_as_outside_it() -> None:
    write = sampler(guidance="classifier")
    expected_BMD = write(start())
    with torch.inference_mode():
        assert torch.equal(write(start()), expected_BMD)


def changes(before: Tensor, after: Tensor) -> bool:
    return bool(((after - before).abs().amax((1, 2)) > 1e-4).all())


@pytest.mark.parametrize("guidance", ["classifier_free", "classifier"])
def test_guidance_moves_every_sample_and_none_of_scale_zero_does(guidance: str) -> None:
    unguided_BMD = sampler(guidance=guidance, guidance_scale=0)(start())
    assert changes(unguided_BMD, sampler(guidance=guidance, guidance_scale=1)(start()))


def test_a_classifier_pulls_towards_the_first_item_of_the_sequence() -> None:
    values, first = start(), 0
    write = sampler(guidance="classifier", guidance_scale=0.5, sampling_steps=1)
    free = sampler(guidance="classifier", guidance_scale=0.0, sampling_steps=1)
    model, step_B = write._model, torch.full((ROWS,), first)
    gap_of = [
        (model.first_item(made(values).double(), step_B) - values.first_BD).square().sum(1) for made in (write, free)
    ]
    assert (gap_of[0] < gap_of[1]).all()


def test_without_a_classifier_the_first_item_is_not_read() -> None:
    values, write = start(), sampler()
    other = Start(values.noise_BMD, values.guide_BD, values.first_BD + 1)
    assert torch.equal(write(values), write(other))


def test_every_sample_reads_its_noise_and_its_sequence() -> None:
    values, write = start(), sampler()
    assert changes(write(values), write(Start(values.noise_BMD + 1, values.guide_BD, values.first_BD)))
    assert changes(write(values), write(Start(values.noise_BMD, values.guide_BD + 1, values.first_BD)))
