"""Dropout zeroes its share, keeps the mean, is off in evaluation and belongs to torch's seed."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rsir_scale.models.dropout import Dropout


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.6, 0.9])
def test_the_share_dropped_is_the_rate_and_the_mean_is_kept(rate: float) -> None:
    torch.manual_seed(0)
    dropped = Dropout(rate)(torch.ones(400, 1000))
    # Five standard errors of 400,000 draws.
    share_error = 5 * (rate * (1 - rate) / dropped.numel()) ** 0.5
    assert abs(float((dropped == 0).double().mean()) - rate) < share_error
    assert abs(float(dropped.double().mean()) - 1.0) < share_error / (1 - rate)
    kept = dropped[dropped != 0]
    assert torch.allclose(kept, torch.full_like(kept, 1 / (1 - rate)))


@given(shape=st.lists(st.integers(0, 7), min_size=1, max_size=3), seed=st.integers(0, 99))
def test_any_shape_keeps_its_shape_and_only_whole_elements_change(shape: list[int], seed: int) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    dropped = Dropout(0.5)(x)
    assert dropped.shape == x.shape
    assert ((dropped == 0) | torch.isclose(dropped, 2 * x)).all()


def test_torch_seeds_it_and_each_call_draws_anew() -> None:
    x, dropout = torch.ones(1000), Dropout(0.5)
    torch.manual_seed(4)
    first, second = dropout(x), dropout(x)
    torch.manual_seed(4)
    assert torch.equal(dropout(x), first)
    assert not torch.equal(first, second)


def test_neighbouring_elements_are_dropped_independently() -> None:
    torch.manual_seed(1)
    kept = (Dropout(0.5)(torch.ones(200_000)) > 0).double()
    for lag in (1, 2, 3, 4, 8, 64):
        assert abs(float(torch.corrcoef(torch.stack([kept[lag:], kept[:-lag]]))[0, 1])) < 0.012, lag


def test_evaluation_and_rate_zero_let_everything_through_without_a_draw() -> None:
    x = torch.randn(50)
    state = torch.get_rng_state()
    assert Dropout(0.5).eval()(x) is x
    assert Dropout(0.0)(x) is x
    assert torch.equal(torch.get_rng_state(), state)


def test_gradients_pass_where_values_did() -> None:
    x = torch.ones(100, requires_grad=True)
    dropped = Dropout(0.3)(x)
    dropped.sum().backward()
    assert torch.equal(x.grad, dropped.detach())
