"""Row-wise Adam reads and changes what an update touches, and what is read stands where Adam would have it."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from rsir_scale.config.settings import ModelConfig, TrainingConfig
from rsir_scale.errors import ConfigError
from rsir_scale.models.base import Backbone
from rsir_scale.models.sasrec import SASRec
from rsir_scale.training.optimiser import RowAdam, optimiser_of, require_rows, row_tables
from rsir_scale.training.schedule import Schedule

ROWS, WIDTH, RATE = 6, 3, 0.1
CONSTANT = Schedule(RATE)


def _sparse(rows: list[int], value: Tensor) -> Tensor:
    return torch.sparse_coo_tensor(torch.tensor([rows]), value, (ROWS, WIDTH), check_invariants=True)


class Literal:
    """Adam with one second moment a row, all rows at every update, in plain NumPy."""

    def __init__(self, table: np.ndarray) -> None:
        self.table, self.mean, self.square, self.update = table.copy(), np.zeros_like(table), np.zeros(len(table)), 0

    def step(self, gradient: np.ndarray, rate: float) -> None:
        self.update += 1
        self.mean = 0.9 * self.mean + 0.1 * gradient
        self.square = 0.999 * self.square + 0.001 * np.square(gradient).mean(1)
        scale = np.sqrt(self.square / (1 - 0.999**self.update)) + 1e-8
        self.table -= rate * self.mean / (1 - 0.9**self.update) / scale[:, None]


class Pair:
    """A table under `RowAdam`, and the same under the literal one."""

    def __init__(self, seed: int, schedule: Schedule = CONSTANT) -> None:
        self.draw = torch.Generator().manual_seed(seed)
        self.module = nn.Embedding(ROWS, WIDTH, sparse=True, dtype=torch.float64)
        with torch.no_grad():
            self.module.weight.copy_(torch.randn((ROWS, WIDTH), generator=self.draw, dtype=torch.float64))
        self.schedule, self.optimiser = schedule, RowAdam(self.module.parameters(), schedule)
        self.module.register_forward_pre_hook(self.optimiser.before_lookup)
        self.literal = Literal(self.module.weight.detach().numpy())

    def update(self, rows: list[int]) -> np.ndarray:
        """Read some rows, give them random gradients, and return what was read."""
        self.optimiser.at(self.literal.update)
        slope = torch.randn((len(rows), WIDTH), generator=self.draw, dtype=torch.float64)
        read = self.module(torch.tensor(rows))
        (read * slope).sum().backward()
        dense = np.zeros((ROWS, WIDTH))
        np.add.at(dense, rows, slope.numpy())
        self.optimiser.step()
        self.literal.step(dense, self.schedule.of(self.literal.update))
        return read.detach().numpy()


@given(updates=st.integers(1, 9), seed=st.integers(0, 999))
def test_a_table_all_of_which_is_touched_is_adam_with_one_second_moment_a_row(updates: int, seed: int) -> None:
    pair = Pair(seed)
    for _ in range(updates):
        pair.update([*range(ROWS), 2])
    np.testing.assert_allclose(pair.module.weight.detach().numpy(), pair.literal.table, rtol=1e-9, atol=1e-12)


def test_rows_read_now_and_then_stand_where_adam_has_moved_them() -> None:
    pair = Pair(seed=1)
    start = pair.literal.table.copy()
    choose = np.random.default_rng(0)
    errors, moved = [], []
    for update in range(600):
        rows = sorted(choose.choice(ROWS, size=2, replace=False, p=np.array([8, 4, 2, 1, 1, 1]) / 17).tolist())
        expected = pair.literal.table[rows].copy()
        read = pair.update(rows)
        if update > 100:
            errors.append(np.abs(read - expected).max())
            moved.append(np.abs(expected - start[rows]).max())
    assert max(errors) < 0.05 * np.mean(moved)
    pair.optimiser.settle()
    difference = np.abs(pair.module.weight.detach().numpy() - pair.literal.table)
    assert difference.max() < 0.05 * np.abs(pair.literal.table - start).max()


def test_rows_that_rest_while_the_rate_falls_stand_where_adam_has_moved_them() -> None:
    pair = Pair(seed=3, schedule=Schedule(RATE, rising=10, maximum=220))
    for _ in range(100):
        pair.update([*range(ROWS)])
    before = pair.literal.table[1:].copy()
    for _ in range(100):
        pair.update([0])
    pair.optimiser.settle()
    moved = pair.literal.table[1:] - before
    difference = pair.module.weight.detach().numpy()[1:] - pair.literal.table[1:]
    # At the last of these updates the rate is a sixth of what it was at the first.
    assert np.abs(difference).max() < 0.12 * np.abs(moved).max()


@settings(max_examples=10)
@given(seed=st.integers(0, 999), resting=st.integers(1, 30))
def test_moves_put_off_are_made_at_the_rate_of_the_first_of_them(seed: int, resting: int) -> None:
    schedule = Schedule(RATE, rising=2, maximum=40)
    pair = Pair(seed, schedule)
    for _ in range(3):
        pair.update([*range(ROWS)])
    adam = pair.literal
    table, mean, square = (values[1:].copy() for values in (adam.table, adam.mean, adam.square))
    for _ in range(resting):
        mean, square = 0.9 * mean, 0.999 * square
        scale = np.sqrt(square / (1 - 0.999**4))
        table -= schedule.of(3) * mean / (1 - 0.9**4) / scale[:, None]
        pair.update([0])
    pair.optimiser.settle()
    np.testing.assert_allclose(pair.module.weight.detach().numpy()[1:], table, rtol=1e-5, atol=1e-7)


@given(seed=st.integers(0, 999), cut=st.integers(0, ROWS), falling=st.booleans())
def test_rows_caught_up_apart_end_in_the_bits_of_rows_caught_up_together(seed: int, cut: int, falling: bool) -> None:
    schedule = Schedule(RATE, rising=1, maximum=5) if falling else Schedule(RATE)
    one, other = Pair(seed, schedule), Pair(seed, schedule)
    for rows in ([0, 1, 2, 3, 4, 5], [1], [2, 3], [1]):
        for pair in (one, other):
            pair.update(rows)
    one.module(torch.arange(cut))
    one.optimiser.at(4)
    one.optimiser.settle()
    other.optimiser.settle()
    assert torch.equal(one.module.weight, other.module.weight)


def test_an_untouched_row_moves_no_more_once_its_momentum_is_spent() -> None:
    pair = Pair(seed=2)
    pair.update([0, 1])
    for _ in range(300):
        pair.update([1])
    pair.optimiser.settle()
    before = pair.module.weight[0].detach().clone()
    for _ in range(50):
        pair.update([1])
    pair.optimiser.settle()
    torch.testing.assert_close(pair.module.weight[0].detach(), before, rtol=0, atol=1e-9)


def test_a_width_of_one_with_all_rows_touched_is_adam() -> None:
    draw = torch.Generator().manual_seed(0)
    start = torch.randn((ROWS, 1), generator=draw, dtype=torch.float64)
    sparse, dense = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    ours, theirs = RowAdam([sparse], CONSTANT), torch.optim.Adam([dense], lr=RATE)
    for _ in range(5):
        gradient = torch.randn((ROWS, 1), generator=draw, dtype=torch.float64)
        sparse.grad, dense.grad = gradient.to_sparse(1), gradient
        ours.step()
        theirs.step()
    torch.testing.assert_close(sparse, dense)


def test_dense_gradients_are_those_of_adam_to_the_bit() -> None:
    start = torch.randn(5, generator=torch.Generator().manual_seed(0))
    one, other = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    ours, theirs = RowAdam([one], CONSTANT), torch.optim.Adam([other], lr=RATE, fused=True)
    for step in range(4):
        one.grad, other.grad = start * step, start * step
        ours.step()
        theirs.step()
    assert torch.equal(one, other)


def test_moments_beside_a_table_take_the_room_of_little_more_than_one() -> None:
    table = nn.Parameter(torch.zeros((1000, 64)))
    optimiser = RowAdam([table], CONSTANT)
    table.grad = torch.sparse_coo_tensor(torch.tensor([[3]]), torch.ones((1, 64)), table.shape, check_invariants=True)
    optimiser.step()
    assert sum(moment.numel() for moment in optimiser.state[table].values()) == 1000 * (64 + 2) + 1


def test_a_state_put_back_goes_on_to_the_same_bits() -> None:
    def steps(optimiser: RowAdam, table: nn.Parameter, numbers: range) -> None:
        for number in numbers:
            table.grad = _sparse([number % ROWS, 2], torch.full((2, WIDTH), 0.1 * number))
            optimiser.step()

    whole, stopped = (nn.Parameter(torch.ones((ROWS, WIDTH))) for _ in range(2))
    steps(RowAdam([whole], CONSTANT), whole, range(8))
    first = RowAdam([stopped], CONSTANT)
    steps(first, stopped, range(4))
    second = RowAdam([stopped], CONSTANT)
    second.restore(first.moments())
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
    optimiser_of(TrainingConfig(), _Shared(), maximum=1)
    with pytest.raises(ConfigError, match=r"item_updates=sparse .* _Shared has none: set training.item_updates=dense"):
        optimiser_of(TrainingConfig(item_updates="sparse"), _Shared(), maximum=1)


def test_a_gradient_of_all_items_is_refused_where_rows_were_asked_for() -> None:
    backbone = SASRec(ModelConfig(width=4, blocks=1), item_count=4, max_length=5)
    assert row_tables(backbone) == ()
    optimiser_of(TrainingConfig(item_updates="sparse"), backbone, maximum=1)
    (table,) = row_tables(backbone)
    backbone.vectors_of(torch.tensor([1, 2])).sum().backward()
    require_rows([table], backbone)
    backbone.item_vectors().sum().backward()
    with pytest.raises(ConfigError, match="SASRec gave a gradient of all items"):
        require_rows([table], backbone)


def test_a_process_that_trains_does_not_import_the_compiler() -> None:
    code = """
import sys
import torch
from rsir_scale.training.optimiser import RowAdam
from rsir_scale.training.schedule import Schedule
weight = torch.nn.Parameter(torch.ones(2))
optimiser = RowAdam([weight], Schedule(0.1))
weight.grad = torch.ones(2)
optimiser.step()
sys.exit("torch._dynamo" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=120).returncode == 0
