"""SASRec keeps the contract of a backbone, with layer norm in either place."""

import torch

from rsir_scale.config import ModelConfig
from rsir_scale.models.checkpoint import ModelDescription, build_backbone
from tests.models.contract import ITEMS, LENGTH, BackboneContract


def _described(config: ModelConfig) -> ModelDescription:
    return ModelDescription(model=config, item_count=ITEMS, max_length=LENGTH)


class TestSASRecPostNorm(BackboneContract):
    def description(self, *, dropout: float = 0.0) -> ModelDescription:
        return _described(ModelConfig(width=8, blocks=2, heads=2, feed_forward=12, norm="post", dropout=dropout))


class TestSASRecPreNorm(BackboneContract):
    def description(self, *, dropout: float = 0.0) -> ModelDescription:
        return _described(ModelConfig(width=6, blocks=1, heads=3, feed_forward=4, norm="pre", dropout=dropout))


def test_weights_start_from_a_narrow_normal_and_padding_from_zero() -> None:
    backbone = build_backbone(ModelDescription(model=ModelConfig(), item_count=5000, max_length=50), seed=1)
    items_VD = backbone.item_vectors().detach()
    assert not items_VD[0].any()
    assert abs(float(items_VD[1:].std()) - 0.02) < 2e-4
    assert abs(float(items_VD[1:].mean())) < 2e-4


def test_the_order_of_items_matters() -> None:
    backbone = build_backbone(_described(ModelConfig(dropout=0.0)), seed=1).eval()
    assert not torch.allclose(backbone.encode(torch.tensor([[1, 2, 3]])), backbone.encode(torch.tensor([[2, 1, 3]])))
