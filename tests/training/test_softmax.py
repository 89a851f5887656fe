"""Sums over chunks of scores are those of plain autograd, in value and in gradient, however the chunks fall."""

from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from rsir_scale.training import softmax
from rsir_scale.training.softmax import Hidden, softmax_against, softmax_within, softplus_against

SIZES = st.tuples(st.integers(1, 9), st.integers(1, 7), st.integers(1, 4), st.integers(0, 999))


class World:
    """Random inputs in float64, and hidden scores, one of them told twice."""

    def __init__(self, sizes: tuple[int, int, int, int]) -> None:
        targets, columns, width, seed = sizes
        draw = torch.Generator().manual_seed(seed)

        def normal(*shape: int) -> Tensor:
            return torch.randn(shape, generator=draw, dtype=torch.float64).requires_grad_()

        self.query, self.table, self.positive = normal(targets, width), normal(columns, width), normal(targets)
        self.weight = torch.rand(targets, generator=draw, dtype=torch.float64)
        self.column = torch.randint(columns, (targets,), generator=draw)
        row, column = (torch.rand((targets, columns), generator=draw) < 0.3).nonzero(as_tuple=True)
        self.hidden = Hidden(torch.cat([row, row[:1]]), torch.cat([column, column[:1]]))

    def scores(self) -> Tensor:
        scores = self.query @ self.table.T
        gone = torch.zeros(scores.shape, dtype=torch.bool)
        gone[self.hidden.row_H, self.hidden.column_H] = True
        return scores.masked_fill(gone, float("-inf"))

    def gradients(self, total: Tensor) -> list[Tensor]:
        inputs = [self.query, self.table, self.positive]
        found = torch.autograd.grad(3.0 * total, inputs, allow_unused=True)
        return [torch.zeros_like(one) if grad is None else grad for one, grad in zip(inputs, found, strict=True)]


def _agree(world: World, found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected)
    for one, other in zip(world.gradients(found), world.gradients(expected), strict=True):
        torch.testing.assert_close(one, other)


@pytest.fixture(params=[1, 2, 16], autouse=True, scope="module")
def _rows_at_least(request: pytest.FixtureRequest) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(softmax, "_SCORES_AT_ONCE", 1)
        patch.setattr(softmax, "_ROWS_AT_LEAST", request.param)
        yield


@given(SIZES)
def test_softmax_within_a_table_is_cross_entropy(sizes: tuple[int, int, int, int]) -> None:
    world = World(sizes)
    each_T = F.cross_entropy(world.query @ world.table.T, world.column, reduction="none")
    _agree(world, softmax_within(world.query, world.table, world.column, world.weight), (world.weight * each_T).sum())


@given(SIZES)
def test_softmax_against_negatives_is_cross_entropy_beside_them(sizes: tuple[int, int, int, int]) -> None:
    world = World(sizes)
    scores = torch.cat([world.positive[:, None], world.scores()], dim=1)
    expected = (world.weight * (scores.logsumexp(1) - world.positive)).sum()
    found = softmax_against(world.query, world.table, world.positive, world.weight, hidden=world.hidden)
    _agree(world, found, expected)


@given(SIZES)
def test_softplus_against_negatives_is_the_plain_sum(sizes: tuple[int, int, int, int]) -> None:
    world = World(sizes)
    expected = (world.weight[:, None] * F.softplus(world.scores())).sum()
    _agree(world, softplus_against(world.query, world.table, world.weight, hidden=world.hidden), expected)


def test_a_target_all_of_whose_negatives_are_hidden_costs_nothing() -> None:
    world = World((2, 1, 3, 0))
    hidden = Hidden(torch.tensor([0, 1]), torch.tensor([0, 0]))
    total = softmax_against(world.query, world.table, world.positive, world.weight, hidden=hidden)
    assert total.item() == 0.0
    assert not any(gradient.any() for gradient in world.gradients(total))
