"""HSTU keeps the contract of a backbone, and computes what its paper says."""

import torch
import torch.nn.functional as F

from rsir_scale.config.settings import ModelConfig
from rsir_scale.models.checkpoint import build_backbone
from rsir_scale.models.hstu import HSTUBlock
from rsir_scale.runs.trained import ModelDescription
from tests.models.contract import ITEMS, LENGTH, BackboneContract, dropped_shapes


class TestHSTU(BackboneContract):
    def description(self, *, dropout: float = 0.0) -> ModelDescription:
        model = ModelConfig(backbone="hstu", width=8, blocks=2, heads=2, dropout=dropout)
        return ModelDescription(model=model, item_count=ITEMS, max_length=LENGTH)


class TestHSTUScaled(BackboneContract):
    def description(self, *, dropout: float = 0.0) -> ModelDescription:
        model = ModelConfig(backbone="hstu", width=6, blocks=1, heads=3, dropout=dropout, embedding_scale=True)
        return ModelDescription(model=model, item_count=ITEMS, max_length=LENGTH)


class TestHSTUCosine(BackboneContract):
    def description(self, *, dropout: float = 0.0) -> ModelDescription:
        model = ModelConfig(backbone="hstu", width=8, blocks=1, heads=2, dropout=dropout, similarity="cosine")
        return ModelDescription(model=model, item_count=ITEMS, max_length=LENGTH)


def test_the_projection_that_leaves_a_block_starts_from_glorots_uniform() -> None:
    for block in build_backbone(TestHSTU().description()).blocks:
        bound = (6 / (8 + 8)) ** 0.5
        assert 0.8 * bound < float(block.project_out.weight.detach().abs().max()) <= bound
        assert float(block.project_in.weight.detach().std()) < 0.03


def test_training_drops_out_what_enters_and_what_each_gate_lets_through() -> None:
    shapes = dropped_shapes(build_backbone(TestHSTU().description(dropout=0.5)))
    assert shapes == [(40, LENGTH, 8)] * 3


def test_a_block_is_the_sum_over_earlier_positions_written_out() -> None:
    torch.manual_seed(1)
    width, heads, length = 6, 2, 5
    block = HSTUBlock(width=width, heads=heads, max_length=LENGTH, dropout=0.0).double().eval()
    x_LD = torch.randn((length, width), dtype=torch.float64)
    gate_LD, value_LD, query_LD, key_LD = F.silu(F.layer_norm(x_LD, (width,)) @ block.project_in.weight.T).chunk(4, 1)
    mixed_LD = torch.zeros_like(x_LD)
    for head in (slice(0, 3), slice(3, 6)):
        for now in range(length):
            for then in range(now + 1):
                score = query_LD[now, head] @ key_LD[then, head] + block.distance_bias[now - then]
                mixed_LD[now, head] += F.silu(score) / LENGTH * value_LD[then, head]
    expected_LD = x_LD + block.project_out(gate_LD * F.layer_norm(mixed_LD, (width,)))
    assert torch.allclose(block(x_LD[None])[0], expected_LD, rtol=0, atol=1e-12)
