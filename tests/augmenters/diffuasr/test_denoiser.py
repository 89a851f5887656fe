"""The model: what it reads, and that a row is its own affair."""

import pytest
import torch
from torch import Tensor

from rsir_scale.augmenters.diffuasr.denoiser import Denoiser
from rsir_scale.augmenters.diffuasr.learner import new_denoiser
from rsir_scale.augmenters.diffuasr.options import DiffuASROptions
from rsir_scale.errors import ConfigError

ROWS, ITEMS = 6, 3


def built(*, width: int = 16, guidance: str = "classifier") -> Denoiser:
    options = DiffuASROptions(items=ITEMS, guidance=guidance)  # type: ignore[arg-type]
    model = new_denoiser(options, width=width, seed=1).double().eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(2), dtype=weight.dtype) * 0.1)
    return model


def inputs(width: int = 16) -> tuple[Tensor, Tensor, Tensor]:
    draws = torch.Generator().manual_seed(3)
    x_BMD = torch.randn((ROWS, ITEMS, width), generator=draws, dtype=torch.float64)
    return x_BMD, torch.arange(ROWS) * 150, torch.randn((ROWS, width), generator=draws, dtype=torch.float64)


@pytest.mark.parametrize("width", [8, 9, 16, 50, 64, 128])
def test_a_guess_has_the_shape_of_the_vectors_whatever_their_map(width: int) -> None:
    x_BMD, step_B, guide_BD = inputs(width)
    model = built(width=width)
    assert model(x_BMD, step_B, guide_BD).shape == x_BMD.shape
    assert model.first_item(x_BMD, step_B).shape == guide_BD.shape


@torch.no_grad()
def test_a_row_is_guessed_alone_as_in_company() -> None:
    x_BMD, step_B, guide_BD = inputs()
    model = built()
    noise_BMD, first_BD = model(x_BMD, step_B, guide_BD), model.first_item(x_BMD, step_B)
    for row in range(ROWS):
        one = slice(row, row + 1)
        assert torch.allclose(model(x_BMD[one], step_B[one], guide_BD[one])[0], noise_BMD[row], rtol=0, atol=1e-12)
        assert torch.allclose(model.first_item(x_BMD[one], step_B[one])[0], first_BD[row], rtol=0, atol=1e-12)


@torch.no_grad()
@pytest.mark.parametrize("changed", range(3))
def test_a_guess_reads_the_vectors_the_step_and_the_guide(changed: int) -> None:
    given, model = list(inputs()), built()
    before_BMD = model(*given)
    given[changed] = given[changed] + 1
    difference_B = (model(*given) - before_BMD).abs().amax((1, 2))
    assert (difference_B > 1e-6).all()


@torch.no_grad()
def test_a_guess_of_each_item_reads_every_other_item() -> None:
    x_BMD, step_B, guide_BD = inputs()
    model = built()
    before_BMD = model(x_BMD, step_B, guide_BD)
    for item in range(ITEMS):
        changed_BMD = x_BMD.clone()
        changed_BMD[:, item, 0] += 1
        difference_BM = (model(changed_BMD, step_B, guide_BD) - before_BMD).abs().amax(2)
        assert (difference_BM > 1e-9).all()


def test_first_weights_belong_to_their_seed_and_leave_torch_as_it_was() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    one, other = new_denoiser(DiffuASROptions(), width=16, seed=1), new_denoiser(DiffuASROptions(), width=16, seed=1)
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_a_model_without_a_classifier_says_so() -> None:
    with pytest.raises(TypeError, match="no classifier"):
        built(guidance="classifier_free").first_item(*inputs()[:2])


def test_a_width_without_a_map_makes_no_model() -> None:
    with pytest.raises(ConfigError, match=r"model\.width=61"):
        new_denoiser(DiffuASROptions(), width=61, seed=0)
