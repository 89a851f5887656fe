"""Curvature against the Hessian written out column by column, on a model that is small enough for it."""

from functools import cache

import numpy as np
import pytest
import torch
from torch import nn

from rsir_scale.analysis.sharpness import Minimum, describe, sample_batch
from rsir_scale.config.settings import ModelConfig
from rsir_scale.errors import InputError
from rsir_scale.models.base import Backbone
from rsir_scale.models.checkpoint import build_backbone
from rsir_scale.runs.trained import ModelDescription
from rsir_scale.training.batches import Batch
from tests.analysis.worlds import sequences_of

ITEMS, LENGTH = 7, 4
ROWS = sequences_of([[1, 2, 3, 4], [2, 3], [5], [6, 7, 1], [3, 1, 2]])


@cache
def _batch() -> Batch:
    return sample_batch(ROWS, max_length=LENGTH)


class _Tanh(Backbone):
    """Small, and with parameters that it does not ask for by name."""

    def __init__(self) -> None:
        super().__init__(item_count=ITEMS, max_length=LENGTH, width=3)
        draws = torch.Generator().manual_seed(0)
        self.items = nn.Parameter(torch.randn(ITEMS + 1, 3, generator=draws, dtype=torch.float64))
        self.mix = nn.Parameter(torch.randn(3, 3, generator=draws, dtype=torch.float64))

    def item_vectors(self) -> torch.Tensor:
        return self.items

    def hidden(self, context_BL: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.items[context_BL] @ self.mix)


def _minimum(*, backbone: str = "sasrec", width: int = 2, seed: int = 1) -> Minimum:
    config = ModelConfig(backbone=backbone, width=width, feed_forward=2, blocks=1, heads=1)
    description = ModelDescription(model=config, item_count=ITEMS, max_length=LENGTH)
    return Minimum(build_backbone(description, seed=seed).double().eval(), _batch())


def _hessian(minimum: Minimum) -> np.ndarray:
    columns = [minimum.hessian_times(unit) for unit in torch.eye(minimum.size, dtype=torch.float64)]
    return torch.stack(columns).numpy()


@pytest.mark.parametrize("backbone", ["sasrec", "hstu", "cl4srec"])
def test_products_with_the_hessian_are_differences_of_gradients(backbone: str) -> None:
    minimum = _minimum(backbone=backbone)
    vector = torch.randn(minimum.size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with minimum.moved(vector * 1e-7):
        above = minimum.gradient_N()
    with minimum.moved(vector * -1e-7):
        below = minimum.gradient_N()
    found = minimum.hessian_times(vector)
    assert found.norm() > 1e-3
    assert torch.allclose(found, (above - below) / 2e-7, rtol=1e-4, atol=1e-5)


def test_products_with_the_hessian_are_those_of_curvlinops() -> None:
    curvlinops = pytest.importorskip("curvlinops", reason="pip install curvlinops-for-pytorch to compare")
    backbone = _Tanh()
    minimum, batch = Minimum(backbone, _batch()), _batch()

    class Scores(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone = backbone

        def forward(self, context_BL: torch.Tensor) -> torch.Tensor:
            return (self.backbone.hidden(context_BL) @ self.backbone.items[1:].T).transpose(1, 2)

    loss, data = nn.CrossEntropyLoss(ignore_index=-1), [(batch.contexts.context_BL, batch.target_BL - 1)]
    hessian = curvlinops.HessianLinearOperator(Scores(), loss, [*backbone.parameters()], data)
    vector = torch.randn(minimum.size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(hessian @ vector, minimum.hessian_times(vector), atol=1e-12)


def test_eigenvalue_and_trace_are_those_of_the_whole_hessian() -> None:
    minimum = _minimum()
    hessian = _hessian(minimum)
    assert np.allclose(hessian, hessian.T, atol=1e-10)
    assert minimum.top_eigenvalue() == pytest.approx(np.linalg.eigvalsh(hessian)[-1], rel=2e-3)
    trace, error = minimum.trace(probes=64)
    assert abs(trace - np.trace(hessian)) < 4 * error
    variance = 2 * ((hessian**2).sum() - (hessian.diagonal() ** 2).sum())
    assert error == pytest.approx(np.sqrt(variance / 64), rel=0.3)


def test_looking_around_changes_no_parameter_and_gives_the_same_again() -> None:
    minimum, base = _minimum(), _minimum(seed=2)
    before = minimum.parameters_N()
    found = describe(minimum, base)
    assert torch.equal(minimum.parameters_N(), before)
    assert describe(minimum, base) == found


def test_the_way_between_two_models_begins_at_the_one_and_ends_at_the_other() -> None:
    one, other = _minimum(), _minimum(seed=2)
    way = one.on_the_way_to(other)
    assert (way[0.0], way[1.0]) == pytest.approx((one.loss(), other.loss()))
    assert way[0.0] != pytest.approx(way[1.0])


def test_a_step_up_the_gradient_raises_the_loss_by_about_its_slope() -> None:
    minimum = _minimum()
    slope = float(minimum.gradient_N().norm())
    assert minimum.rise_along_gradient(1e-5) == pytest.approx(1e-5 * slope, rel=1e-2)


def test_models_of_other_shapes_have_no_line_between_them() -> None:
    with pytest.raises(InputError, match="differ in their parameters"):
        _minimum().on_the_way_to(_minimum(width=6))


def test_a_larger_sample_holds_a_smaller_one() -> None:
    def contexts(rows: int) -> set[tuple[int, ...]]:
        return {tuple(row) for row in sample_batch(ROWS, max_length=LENGTH, rows=rows).target_BL.tolist()}

    assert [len(contexts(rows)) for rows in (1, 2, 4, 9)] == [1, 2, 4, 4]


def test_a_dataset_without_pairs_has_no_loss() -> None:
    with pytest.raises(InputError, match="no training sequence of 2 items"):
        sample_batch(sequences_of([[1], []]), max_length=4)
