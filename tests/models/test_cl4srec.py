"""CL4SRec keeps the contract, and its loss is InfoNCE over two views of each row."""

import math

import pytest
import torch

from rsir_scale.config.settings import ModelConfig
from rsir_scale.models.checkpoint import build_backbone
from rsir_scale.models.cl4srec import CL4SRec
from rsir_scale.models.compiled import CompiledBlocks, instructions
from rsir_scale.models.views import Shares, two_views
from rsir_scale.runs.trained import ModelDescription
from tests.models.contract import ITEMS, LENGTH, BackboneContract, contexts


def _described(**changes: object) -> ModelDescription:
    model = ModelConfig.model_validate(
        {"backbone": "cl4srec", "width": 8, "blocks": 1, "heads": 2, "feed_forward": 12, "dropout": 0.0} | changes
    )
    return ModelDescription(model=model, item_count=ITEMS, max_length=LENGTH)


class TestCL4SRec(BackboneContract):
    def description(self, *, dropout: float = 0.0) -> ModelDescription:
        return _described(dropout=dropout)


class TestCL4SRecCosine(BackboneContract):
    def description(self, *, dropout: float = 0.0) -> ModelDescription:
        return _described(dropout=dropout, similarity="cosine")


def _built(**changes: object) -> CL4SRec:
    backbone = build_backbone(_described(**changes), seed=1).double()
    assert isinstance(backbone, CL4SRec)
    return backbone


def _loss(backbone: CL4SRec, seed: int = 5) -> float:
    return float(backbone.auxiliary_loss(contexts(), draws=torch.Generator().manual_seed(seed)).detach())


def test_the_loss_is_info_nce_written_out() -> None:
    backbone, context_BL = _built(contrast_temperature=0.5, contrast_mask=0.0, contrast_crop=0.5), contexts()
    draws = torch.Generator().manual_seed(5)
    one, other = two_views(context_BL, Shares(0.5, 0.0, 0.2), draws=draws)
    views = torch.cat([backbone.encode(one.item_BL), backbone.encode(other.item_BL)]).detach()
    rows, total = len(context_BL), 0.0
    for view in range(2 * rows):
        similarity = [float(views[view] @ views[peer]) / 0.5 for peer in range(2 * rows)]
        among = math.log(sum(math.exp(value) for peer, value in enumerate(similarity) if peer != view))
        total += among - similarity[(view + rows) % (2 * rows)]
    assert math.isclose(_loss(backbone), 0.1 * total / 2, rel_tol=1e-9)


def test_the_weight_scales_the_loss_and_the_generator_decides_the_views() -> None:
    assert math.isclose(_loss(_built(contrast_weight=0.3)), 3 * _loss(_built()), rel_tol=1e-12)
    assert _loss(_built(), seed=5) != _loss(_built(), seed=6)


def test_of_a_loss_under_autocast_the_encoder_alone_is_rounded(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = _built().float()
    views_VD = torch.randn((2 * len(contexts()), 8), generator=torch.Generator().manual_seed(1)).bfloat16()
    losses = []
    for encoded_VD in (views_VD.float(), views_VD):
        monkeypatch.setattr(CL4SRec, "_of_views", lambda *_, encoded_VD=encoded_VD: encoded_VD)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            losses.append(_loss(backbone))
    assert losses[0] == losses[1] != round(losses[0], 2)


def test_the_vector_of_a_hidden_item_is_no_row_of_the_table_and_learns_by_masking_alone() -> None:
    backbone = _built()
    assert backbone.item_vectors().shape == (ITEMS + 1, 8)
    backbone.encode(contexts()).sum().backward()
    assert backbone.hidden_item.grad is None
    backbone.auxiliary_loss(contexts(), draws=torch.Generator().manual_seed(1)).backward()
    assert backbone.hidden_item.grad is not None
    assert backbone.hidden_item.grad.abs().sum() > 0


def test_decoding_takes_the_compiled_blocks_as_sasrec_does() -> None:
    backbone = build_backbone(_described(width=32, feed_forward=32)).eval()
    memory = backbone.memory()
    assert memory is not None
    assert isinstance(memory.blocks, CompiledBlocks) == bool(instructions())
