"""Row-wise Adam changes what an update touches, and each row as if the others were not there."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from rsir_scale.config import ModelConfig, TrainingConfig
from rsir_scale.errors import ConfigError
from rsir_scale.models.base import Backbone
from rsir_scale.models.sasrec import SASRec
from rsir_scale.training.optimiser import RowAdam, optimiser_of, require_rows, row_tables

ROWS, WIDTH, RATE = 6, 3, 0.1
UPDATES = st.lists(st.lists(st.integers(0, ROWS - 1), min_size=1, max_size=5), min_size=1, max_size=6)


def _sparse(rows: list[int], value: Tensor) -> Tensor:
    return torch.sparse_coo_tensor(torch.tensor([rows]), value, (ROWS, WIDTH), check_invariants=True)


@given(updates=UPDATES, seed=st.integers(0, 999))
def test_each_row_follows_adam_over_its_own_updates_with_one_second_moment(updates: list[list[int]], seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    table = nn.Parameter(torch.randn((ROWS, WIDTH), generator=draw, dtype=torch.float64))
    expected = table.detach().clone().numpy()
    mean, square, count = np.zeros((ROWS, WIDTH)), np.zeros(ROWS), np.zeros(ROWS, dtype=int)
    optimiser = RowAdam([table], lr=RATE)
    for rows in updates:
        value = torch.randn((len(rows), WIDTH), generator=draw, dtype=torch.float64)
        table.grad = _sparse(rows, value)
        optimiser.step()
        for row in set(rows):
            gradient = sum(value[place].numpy() for place, each in enumerate(rows) if each == row)
            count[row] += 1
            mean[row] = 0.9 * mean[row] + 0.1 * gradient
            square[row] = 0.999 * square[row] + 0.001 * np.mean(np.square(gradient))
            scale = np.sqrt(square[row] / (1 - 0.999 ** count[row])) + 1e-8
            expected[row] -= RATE * mean[row] / (1 - 0.9 ** count[row]) / scale
    np.testing.assert_allclose(table.detach().numpy(), expected, rtol=1e-9, atol=1e-12)


def test_a_width_of_one_with_all_rows_touched_is_adam() -> None:
    draw = torch.Generator().manual_seed(0)
    start = torch.randn((ROWS, 1), generator=draw, dtype=torch.float64)
    sparse, dense = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    ours, theirs = RowAdam([sparse], lr=RATE), torch.optim.Adam([dense], lr=RATE)
    for _ in range(5):
        gradient = torch.randn((ROWS, 1), generator=draw, dtype=torch.float64)
        sparse.grad, dense.grad = gradient.to_sparse(1), gradient
        ours.step()
        theirs.step()
    torch.testing.assert_close(sparse, dense)


def test_dense_gradients_are_those_of_adam_to_the_bit() -> None:
    start = torch.randn(5, generator=torch.Generator().manual_seed(0))
    one, other = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    ours, theirs = RowAdam([one], lr=RATE, fused=True), torch.optim.Adam([other], lr=RATE, fused=True)
    for step in range(4):
        one.grad, other.grad = start * step, start * step
        ours.step()
        theirs.step()
    assert torch.equal(one, other)


def test_moments_beside_a_table_take_the_room_of_little_more_than_one() -> None:
    table = nn.Parameter(torch.zeros((1000, 64)))
    optimiser = RowAdam([table], lr=RATE)
    table.grad = torch.sparse_coo_tensor(torch.tensor([[3]]), torch.ones((1, 64)), table.shape, check_invariants=True)
    optimiser.step()
    assert sum(moment.numel() for moment in optimiser.state[table].values()) == 1000 * (64 + 2)


def test_a_state_put_back_goes_on_to_the_same_bits() -> None:
    def steps(optimiser: RowAdam, table: nn.Parameter, numbers: range) -> None:
        for number in numbers:
            table.grad = _sparse([number % ROWS, 2], torch.full((2, WIDTH), 0.1 * number))
            optimiser.step()

    whole, stopped = (nn.Parameter(torch.ones((ROWS, WIDTH))) for _ in range(2))
    steps(RowAdam([whole], lr=RATE, fused=True), whole, range(8))
    first = RowAdam([stopped], lr=RATE, fused=True)
    steps(first, stopped, range(4))
    second = RowAdam([stopped], lr=RATE, fused=True)
    second.load_state_dict(first.state_dict())
    steps(second, stopped, range(4, 8))
    assert torch.equal(whole, stopped)


class _Shared(Backbone):
    """A backbone without a row of its own for each item."""

    def __init__(self) -> None:
        super().__init__(item_count=4, max_length=5, width=2)
        self.weight = nn.Parameter(torch.ones(2))

    def hidden(self, context_BL: Tensor) -> Tensor:
        return self.weight.expand(*context_BL.shape, 2)

    def item_vectors(self) -> Tensor:
        return self.weight.expand(5, 2)


def test_sparse_updates_of_items_without_rows_are_refused() -> None:
    optimiser_of(TrainingConfig(), _Shared())
    with pytest.raises(ConfigError, match=r"item_updates=sparse .* _Shared has none: set training.item_updates=dense"):
        optimiser_of(TrainingConfig(item_updates="sparse"), _Shared())


def test_a_gradient_of_all_items_is_refused_where_rows_were_asked_for() -> None:
    backbone = SASRec(ModelConfig(width=4, blocks=1), item_count=4, max_length=5)
    assert row_tables(backbone) == ()
    optimiser_of(TrainingConfig(item_updates="sparse"), backbone)
    (table,) = row_tables(backbone)
    backbone.vectors_of(torch.tensor([1, 2])).sum().backward()
    require_rows([table], backbone)
    backbone.item_vectors().sum().backward()
    with pytest.raises(ConfigError, match="SASRec gave a gradient of all items"):
        require_rows([table], backbone)
