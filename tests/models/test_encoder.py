"""Outside training, contexts go through the compiled blocks where these take them, and through torch elsewhere."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rsir_scale.config.settings import ModelConfig
from rsir_scale.models import compiled_packed
from rsir_scale.models.base import Backbone
from rsir_scale.models.checkpoint import build_backbone
from rsir_scale.models.sasrec import SASRec
from rsir_scale.runs.trained import ModelDescription
from tests.models.contract import ITEMS, LENGTH, contexts, some_sequences

COMPILED = pytest.mark.skipif(not compiled_packed.instructions(), reason="the kernel was not built")
# Of the greatest number of a query: single precision, summed in another order.
BOUND = 1e-5
SIZES = {"width": 32, "blocks": 2, "heads": 2, "feed_forward": 48, "dropout": 0.5, "codebook_size": 8}


def _built(seed: int = 0, **settings: object) -> Backbone:
    """A backbone whose attention is far from even."""
    model = ModelConfig.model_validate(SIZES | settings)
    backbone = build_backbone(ModelDescription(model=model, item_count=ITEMS, max_length=LENGTH), seed=seed)
    backbone.prepare(some_sequences(), item_vectors=None, seed=1)
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(seed)) * 0.1)
    return backbone.eval()


@COMPILED
@settings(max_examples=12)
@given(
    name=st.sampled_from(["sasrec", "cl4srec", "hstu", "semantic_id"]),
    norm=st.sampled_from(["post", "pre"]),
    similarity=st.sampled_from(["dot", "cosine"]),
    scaled=st.booleans(),
    seed=st.integers(0, 1000),
)
@torch.no_grad()
def test_a_query_is_that_of_torch(name: str, norm: str, similarity: str, scaled: bool, seed: int) -> None:
    backbone = _built(seed, backbone=name, norm=norm, similarity=similarity, embedding_scale=scaled)
    context_BL = contexts(seed=seed)
    found_BD, expected_BD = backbone.encode(context_BL), Backbone.encode(backbone, context_BL)
    assert backbone.encodes_in() == f"compiled ({compiled_packed.instructions()[0]})"
    assert not torch.equal(found_BD, expected_BD)
    assert (found_BD - expected_BD).abs().max() <= BOUND * expected_BD.abs().max()


def test_torch_encodes_what_is_trained_and_what_the_kernel_has_no_widths_for() -> None:
    backbone, context_BL = _built(), contexts()
    backbone.encode(context_BL).sum().backward()
    assert backbone.item_vectors().grad is not None
    backbone.train()
    with torch.no_grad():
        assert not torch.equal(backbone.encode(context_BL), backbone.encode(context_BL))
        for other in (_built(width=24), _built().double()):
            assert other.encodes_in() == "torch"
            assert torch.equal(other.encode(context_BL), Backbone.encode(other, context_BL))


@torch.no_grad()
def test_a_class_with_a_way_of_its_own_is_asked_it() -> None:
    class OwnHidden(SASRec):
        def hidden(self, context_BL: Tensor) -> Tensor:
            return torch.ones((*context_BL.shape, self.width))

    class OwnEncode(SASRec):
        def encode(self, context_BL: Tensor) -> Tensor:
            return torch.ones((len(context_BL), self.width))

    for kind in (OwnHidden, OwnEncode):
        backbone = kind(ModelConfig.model_validate(SIZES), item_count=ITEMS, max_length=LENGTH).eval()
        assert backbone.encodes_in() == "torch"
        assert (backbone.encode(contexts()) == 1).all()
