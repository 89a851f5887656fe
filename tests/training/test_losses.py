"""Losses against their formulas in plain Python, over random batches."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from rsir_scale.training.batches import Batch, make_batch
from rsir_scale.training.losses import cross_entropy, flatten_targets, sampled_softmax
from tests.training.market import sequences_of

ITEMS, WIDTH = 12, 3
ROWS = st.lists(st.lists(st.integers(1, ITEMS), min_size=2, max_size=6), min_size=1, max_size=5)


class Step:
    """A batch, its hidden states and the item table, in float64."""

    def __init__(self, rows: list[list[int]], seed: int) -> None:
        numbers = np.random.default_rng(seed)
        weights = numbers.uniform(0.5, 2.0, len(rows)).astype(np.float32)
        self.rows = rows
        self.weights = weights.astype(np.float64)
        self.batch: Batch = make_batch(sequences_of(rows), np.arange(len(rows)), max_length=9, weights=weights)
        self.hidden_BLD = torch.from_numpy(numbers.normal(size=(*self.batch.context_BL.shape, WIDTH)))
        self.items_VD = torch.from_numpy(numbers.normal(size=(ITEMS + 1, WIDTH)))
        self.items_VD[0] = 50.0
        self.targets = flatten_targets(self.hidden_BLD, self.batch)

    def sampled(self, negatives: int, *, logq: bool, seed: int = 0) -> Tensor:
        draws = torch.Generator().manual_seed(seed)
        return sampled_softmax(
            self.targets, self.items_VD, batch=self.batch, negatives=negatives, logq_correction=logq, generator=draws
        )

    def naive(self, drawn: set[int], *, mask_own: bool, raised: float = 0.0) -> float:
        """The weighted sum over positions of -log softmax(target), over the target and the negatives `drawn`."""
        total = 0.0
        for b, row in enumerate(self.rows):
            negatives = drawn - set(row) if mask_own else drawn
            for position, target in enumerate(row[1:]):
                scores = (self.items_VD @ self.hidden_BLD[b, position]).tolist()
                # The target is counted once, as itself.
                others = sum(math.exp(scores[item] + raised) for item in negatives - {target})
                total -= self.weights[b] * (scores[target] - math.log(math.exp(scores[target]) + others))
        return total


@given(rows=ROWS, seed=st.integers(0, 999))
def test_cross_entropy_is_the_formula_over_the_catalogue_without_padding(rows: list[list[int]], seed: int) -> None:
    step = Step(rows, seed)
    expected = step.naive(set(range(1, ITEMS + 1)), mask_own=False)
    assert float(cross_entropy(step.targets, step.items_VD)) == pytest.approx(expected, rel=1e-6)


@given(rows=ROWS, seed=st.integers(0, 999), negatives=st.integers(1, 30), logq=st.booleans())
def test_sampled_softmax_is_the_formula_over_the_drawn_negatives(
    rows: list[list[int]], seed: int, negatives: int, logq: bool
) -> None:
    step = Step(rows, seed)
    drawn = set(torch.randint(1, ITEMS + 1, (negatives,), generator=torch.Generator().manual_seed(seed)).tolist())
    raised = math.log(ITEMS / len(drawn)) if logq else 0.0
    expected = step.naive(drawn, mask_own=True, raised=raised)
    assert float(step.sampled(negatives, logq=logq, seed=seed)) == pytest.approx(expected, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("logq", [True, False])
def test_with_all_items_drawn_sampled_softmax_is_cross_entropy_over_all_but_own_items(logq: bool) -> None:
    step = Step([[1, 2], [4, 5, 6, 4], [3, 3]], seed=1)
    expected = step.naive(set(range(1, ITEMS + 1)), mask_own=True)
    assert float(step.sampled(2000, logq=logq)) == pytest.approx(expected, rel=1e-6)
    assert expected < float(cross_entropy(step.targets, step.items_VD))


def test_with_logq_correction_the_loss_hardly_depends_on_the_number_drawn() -> None:
    step = Step([[1, 2], [4, 5]], seed=2)
    expected = step.naive(set(range(1, ITEMS + 1)), mask_own=True)
    corrected = np.mean([float(step.sampled(5, logq=True, seed=seed)) for seed in range(300)])
    plain = np.mean([float(step.sampled(5, logq=False, seed=seed)) for seed in range(300)])
    assert abs(corrected - expected) < 0.35 * abs(plain - expected)


def test_own_items_and_padding_get_no_gradient_as_negatives() -> None:
    step = Step([[1, 2, 3], [4, 5]], seed=3)
    step.items_VD.requires_grad_()
    step.sampled(2000, logq=True).backward()
    gradient = step.items_VD.grad
    assert gradient is not None
    # Items 1 and 4 stand in a row's own sequence and are never its target; the other row pushes them away.
    assert not gradient[0].any()
    assert gradient[1:].any(1).all()
    alone = Step([[1, 2, 3]], seed=3)
    alone.items_VD.requires_grad_()
    alone.sampled(2000, logq=True).backward()
    assert alone.items_VD.grad is not None
    assert not alone.items_VD.grad[1].any()


def test_flattening_keeps_the_real_positions_in_order() -> None:
    step = Step([[1, 2, 3], [4, 5]], seed=4)
    assert step.targets.item_T.tolist() == [2, 3, 5]
    assert step.targets.row_T.tolist() == [0, 0, 1]
    assert torch.equal(step.targets.query_TD, step.hidden_BLD[[0, 0, 1], [0, 1, 0]])
