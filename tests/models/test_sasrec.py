"""SASRec keeps the contract of a backbone, with layer norm in either place."""

import pytest
import torch
import torch.nn.functional as F

from rsir_scale.config.settings import ModelConfig
from rsir_scale.models.checkpoint import build_backbone
from rsir_scale.runs.trained import ModelDescription
from tests.models.contract import ITEMS, LENGTH, BackboneContract, dropped_shapes


def _described(config: ModelConfig) -> ModelDescription:
    return ModelDescription(model=config, item_count=ITEMS, max_length=LENGTH)


class TestSASRecPostNorm(BackboneContract):
    def description(self, *, dropout: float = 0.0) -> ModelDescription:
        return _described(ModelConfig(width=8, blocks=2, heads=2, feed_forward=12, norm="post", dropout=dropout))


class TestSASRecPreNorm(BackboneContract):
    def description(self, *, dropout: float = 0.0) -> ModelDescription:
        return _described(ModelConfig(width=6, blocks=1, heads=3, feed_forward=4, norm="pre", dropout=dropout))


class TestSASRecScaled(BackboneContract):
    def description(self, *, dropout: float = 0.0) -> ModelDescription:
        return _described(
            ModelConfig(width=8, blocks=1, heads=1, feed_forward=4, dropout=dropout, embedding_scale=True)
        )


class TestSASRecCosine(BackboneContract):
    def description(self, *, dropout: float = 0.0) -> ModelDescription:
        return _described(
            ModelConfig(width=8, blocks=2, heads=2, feed_forward=12, dropout=dropout, similarity="cosine")
        )


@pytest.mark.parametrize("contract", [TestSASRecPostNorm, TestSASRecPreNorm])
def test_training_drops_out_what_enters_attention_and_all_that_leaves_a_sub_layer(
    contract: type[BackboneContract],
) -> None:
    described = contract().description(dropout=0.5)
    model, rows = described.model, 40
    whole, attention = (rows, LENGTH, model.width), (rows, model.heads, LENGTH, LENGTH)
    block = [attention, whole, (rows, LENGTH, model.feed_forward), whole]
    assert dropped_shapes(build_backbone(described)) == [whole, *block * model.blocks]


def test_a_cosine_is_the_angle_over_the_temperature_whatever_the_lengths() -> None:
    model = ModelConfig(width=16, dropout=0.0, temperature=0.25)
    dot, cosine = (
        build_backbone(_described(model.model_copy(update={"similarity": similarity})), seed=1).eval()
        for similarity in ("dot", "cosine")
    )
    context_BL = torch.tensor([[3, 1, 2], [5, 0, 0]])
    with torch.no_grad():
        scores_BV = cosine.encode(context_BL) @ cosine.item_vectors()[1:].T
        angle_BV = F.cosine_similarity(dot.encode(context_BL)[:, None], dot.item_vectors()[None, 1:], dim=-1)
    assert torch.allclose(scores_BV, angle_BV / 0.25, rtol=0, atol=1e-5)
    assert not cosine.item_vectors()[0].any()


def test_scaling_multiplies_item_vectors_by_the_root_of_the_width_in_the_encoder_alone() -> None:
    plain, scaled = (
        build_backbone(_described(ModelConfig(width=16, dropout=0.0, embedding_scale=scale)), seed=1).eval()
        for scale in (False, True)
    )
    context_BL = torch.tensor([[3, 1, 2]])
    with torch.no_grad():
        scaled_BD = scaled.encode(context_BL)
        plain.item_vectors().mul_(4.0)
    assert torch.equal(plain.encode(context_BL), scaled_BD)
    assert torch.equal(plain.item_vectors(), scaled.item_vectors() * 4.0)


def test_weights_start_from_a_narrow_normal_and_padding_from_zero() -> None:
    backbone = build_backbone(ModelDescription(model=ModelConfig(), item_count=5000, max_length=50), seed=1)
    items_VD = backbone.item_vectors().detach()
    assert not items_VD[0].any()
    assert abs(float(items_VD[1:].std()) - 0.02) < 2e-4
    assert abs(float(items_VD[1:].mean())) < 2e-4


def test_the_order_of_items_matters() -> None:
    backbone = build_backbone(_described(ModelConfig(dropout=0.0)), seed=1).eval()
    assert not torch.allclose(backbone.encode(torch.tensor([[1, 2, 3]])), backbone.encode(torch.tensor([[2, 1, 3]])))
