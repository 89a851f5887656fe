"""How noise comes and goes."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rsir_scale.augmenters.diffuasr.schedule import kept_signal, step_back, visited_steps, with_noise


def test_betas_rise_linearly_from_a_ten_thousandth_to_a_fiftieth() -> None:
    kept_T = kept_signal(1000)
    beta_T = 1 - kept_T[1:] / kept_T[:-1]
    assert 1 - float(kept_T[0]) == pytest.approx(1e-4)
    assert float(beta_T[-1]) == pytest.approx(0.02)
    assert torch.allclose(beta_T.diff(), beta_T.diff().mean(), rtol=1e-6)


@given(st.integers(50, 2000))
def test_the_signal_falls_to_next_to_nothing_in_any_number_of_steps(steps: int) -> None:
    kept_T = kept_signal(steps)
    assert len(kept_T) == steps
    assert (kept_T.diff() < 0).all()
    assert float(kept_T[0]) < 1
    assert 0 < float(kept_T[-1]) < 1e-4


def test_five_samples_of_a_thousand_steps_are_those_of_the_authors() -> None:
    assert visited_steps(1000, 5) == [800, 600, 400, 200, 0]


@given(st.integers(50, 500), st.data())
def test_each_step_is_visited_once_down_to_the_first(steps: int, data: st.DataObject) -> None:
    visited = visited_steps(steps, data.draw(st.integers(1, steps)))
    assert visited == sorted(set(visited), reverse=True)
    assert visited[-1] == 0
    assert visited[0] < steps


@given(st.integers(0, 1000))
def test_a_model_that_sees_all_noise_brings_the_clean_vectors_back(seed: int) -> None:
    draws = torch.Generator().manual_seed(seed)
    clean_BMD, noise_BMD = torch.randn((2, 3, 2, 8), generator=draws, dtype=torch.float64)
    kept_T = kept_signal(100)
    x_BMD = with_noise(clean_BMD, noise_BMD, kept_T[80].expand(3))
    for here, after in [(80, 40), (40, 0)]:
        x_BMD = step_back(x_BMD, noise_BMD, kept=float(kept_T[here]), kept_next=float(kept_T[after]))
        assert torch.allclose(x_BMD, with_noise(clean_BMD, noise_BMD, kept_T[after].expand(3)))
    assert torch.allclose(step_back(x_BMD, noise_BMD, kept=float(kept_T[0]), kept_next=1.0), clean_BMD)


def test_noise_keeps_the_variance() -> None:
    draws = torch.Generator().manual_seed(0)
    x_BMD, noise_BMD = torch.randn((2, 4, 50, 1000), generator=draws)
    mixed_BMD = with_noise(x_BMD, noise_BMD, torch.tensor([0.1, 0.4, 0.6, 0.9]))
    assert torch.allclose(mixed_BMD.var(dim=(1, 2)), torch.ones(4), atol=0.03)
