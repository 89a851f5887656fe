"""Losses against their formulas in plain Python, over random batches."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from rsir_scale.config.settings import TrainingConfig
from rsir_scale.errors import ConfigError
from rsir_scale.models.base import Backbone
from rsir_scale.training.batches import Batch, make_batch
from rsir_scale.training.losses import (
    Loss,
    Targets,
    binary_cross_entropy,
    cross_entropy,
    gbce_beta,
    sampled_softmax,
    targeted,
    targets_of,
)
from rsir_scale.training.negatives import draw_negatives, own_negatives
from tests.training.market import sequences_of

ITEMS, WIDTH = 12, 3
ROWS = st.lists(st.lists(st.integers(1, ITEMS), min_size=2, max_size=6), min_size=1, max_size=5)


class _Told(Backbone):
    """A backbone whose hidden states, of the rows of one batch in order, and table are given."""

    def __init__(self, step: "Step") -> None:
        super().__init__(item_count=ITEMS, max_length=9, width=WIDTH)
        self.step = step
        self.encoded = 0

    def hidden(self, context_BL: Tensor) -> Tensor:
        first, self.encoded = self.encoded, self.encoded + len(context_BL)
        return self.step.hidden_BLD[first : self.encoded, : context_BL.shape[1]]

    def item_vectors(self) -> Tensor:
        return self.step.items_VD


def _targets(backbone: Backbone, batch: Batch) -> Targets:
    return targets_of(batch, backbone.packed(batch.contexts), targeted(batch))


class Step:
    """A batch, its hidden states and the item table, in float64."""

    def __init__(self, rows: list[list[int]], seed: int) -> None:
        numbers = np.random.default_rng(seed)
        weights = numbers.uniform(0.5, 2.0, len(rows)).astype(np.float32)
        # As a batch has them.
        rows = sorted(rows, key=len)
        self.rows = rows
        self.weights = weights.astype(np.float64)
        self.batch: Batch = make_batch(sequences_of(rows), np.arange(len(rows)), max_length=9, weights=weights)
        self.hidden_BLD = torch.from_numpy(numbers.normal(size=(*self.batch.contexts.context_BL.shape, WIDTH)))
        self.items_VD = torch.from_numpy(numbers.normal(size=(ITEMS + 1, WIDTH)))
        self.items_VD[0] = 50.0
        self.targets = _targets(_Told(self), self.batch)

    def sampled(self, negatives: int, *, logq: bool, seed: int = 0) -> Tensor:
        drawn = draw_negatives(negatives, item_count=ITEMS, generator=torch.Generator().manual_seed(seed))
        hidden = own_negatives(self.batch, self.targets.row_T, drawn.item_N)
        vectors = self.items_VD[drawn.item_N]
        return sampled_softmax(self.targets, self.positives(), vectors, hidden, drawn if logq else None)

    def positives(self) -> Tensor:
        return (self.targets.query_TD * self.items_VD[self.targets.item_T]).sum(1)

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


def _sigmoid(score: float) -> float:
    return 1.0 / (1.0 + math.exp(-score))


@given(rows=ROWS, seed=st.integers(0, 999), negatives=st.integers(1, 30), beta=st.floats(0.01, 1.0))
def test_binary_cross_entropy_is_the_formula_over_the_drawn_negatives(
    rows: list[list[int]], seed: int, negatives: int, beta: float
) -> None:
    step = Step(rows, seed)
    drawn = draw_negatives(negatives, item_count=ITEMS, generator=torch.Generator().manual_seed(seed))
    hidden = own_negatives(step.batch, step.targets.row_T, drawn.item_N)
    vectors = step.items_VD[drawn.item_N]
    found = binary_cross_entropy(step.targets, step.positives(), vectors, hidden, beta=beta)
    expected = 0.0
    for b, row in enumerate(step.rows):
        for position, target in enumerate(row[1:]):
            scores = (step.items_VD @ step.hidden_BLD[b, position]).tolist()
            terms = [math.log(_sigmoid(scores[target]) ** beta)]
            terms += [math.log(1.0 - _sigmoid(scores[item])) for item in set(drawn.item_N.tolist()) - set(row)]
            expected -= step.weights[b] * sum(terms) / (1 + len(drawn.item_N))
    assert float(found) == pytest.approx(expected, rel=1e-6)


@given(share=st.floats(1e-5, 1.0), calibration=st.floats(0.0, 1.0))
def test_gbce_goes_from_plain_binary_cross_entropy_to_the_share_of_items_sampled(
    share: float, calibration: float
) -> None:
    assert gbce_beta(share, 0.0) == pytest.approx(1.0)
    assert gbce_beta(share, 1.0) == pytest.approx(share, abs=1e-12)
    assert share - 1e-9 <= gbce_beta(share, calibration) <= 1.0 + 1e-9


@pytest.mark.parametrize("loss", ["sampled_softmax", "bce", "gbce", "cross_entropy"])
def test_the_settings_name_the_loss(loss: str) -> None:
    step = Step([[1, 2, 3], [4, 5]], seed=5)
    config = TrainingConfig(loss=loss, negatives=6, logq_correction=True)
    found = float(Loss(config, ITEMS)(_Told(step), step.batch, torch.Generator().manual_seed(3)))
    drawn = draw_negatives(6, item_count=ITEMS, generator=torch.Generator().manual_seed(3))
    hidden = own_negatives(step.batch, step.targets.row_T, drawn.item_N)
    vectors = step.items_VD[drawn.item_N]
    beta = gbce_beta(len(drawn.item_N) / (ITEMS - 1), 0.75)
    expected = {
        "cross_entropy": lambda: cross_entropy(step.targets, step.items_VD),
        "sampled_softmax": lambda: sampled_softmax(step.targets, step.positives(), vectors, hidden, drawn),
        "bce": lambda: binary_cross_entropy(step.targets, step.positives(), vectors, hidden, beta=1.0),
        "gbce": lambda: binary_cross_entropy(step.targets, step.positives(), vectors, hidden, beta=beta),
    }
    assert found == pytest.approx(float(expected[loss]()), rel=1e-6)


def test_more_negatives_than_other_items_are_refused_where_negatives_are_drawn() -> None:
    for loss in ("sampled_softmax", "bce", "gbce"):
        Loss(TrainingConfig(loss=loss, negatives=ITEMS - 1), ITEMS)
        with pytest.raises(ConfigError, match=rf"training\.negatives={ITEMS} .* set 1\.\.{ITEMS - 1}, or training"):
            Loss(TrainingConfig(loss=loss, negatives=ITEMS), ITEMS)
    Loss(TrainingConfig(loss="cross_entropy", negatives=ITEMS), ITEMS)


def test_targets_are_the_real_positions_in_order() -> None:
    step = Step([[1, 2, 3, 4, 5, 6, 7], [4, 5], [1, 2, 3]], seed=4)
    assert len(step.batch.contexts.parts) == 2
    assert step.targets.item_T.tolist() == [5, 2, 3, 2, 3, 4, 5, 6, 7]
    assert step.targets.row_T.tolist() == [0, 1, 1, 2, 2, 2, 2, 2, 2]
    assert torch.equal(step.targets.query_TD, step.hidden_BLD[step.targets.row_T, [0, 0, 1, 0, 1, 2, 3, 4, 5]])
    assert torch.equal(step.targets.weight_T, step.batch.weight_B[step.targets.row_T])
