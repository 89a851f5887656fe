"""Items known by codes keep the contract of a backbone, and their codes travel with the weights."""

import numpy as np
import torch

from rsir_scale.config.settings import ModelConfig
from rsir_scale.models.checkpoint import build_backbone
from rsir_scale.models.semantic_id import CodedItems, SemanticId
from rsir_scale.runs.trained import ModelDescription
from tests.models.contract import ITEMS, LENGTH, BackboneContract, some_sequences
from tests.models.stored import loaded, weights_bytes

SIZE, CODEBOOKS = 6, 2
MODEL = ModelConfig(
    backbone="semantic_id", width=8, blocks=1, heads=2, feed_forward=12, codebooks=CODEBOOKS, codebook_size=SIZE
)


def _described(**changes: object) -> ModelDescription:
    return ModelDescription(model=MODEL.model_copy(update=changes), item_count=ITEMS, max_length=LENGTH)


class TestSemanticId(BackboneContract):
    def description(self, *, dropout: float = 0.0) -> ModelDescription:
        return _described(dropout=dropout)


class TestSemanticIdCosine(BackboneContract):
    def description(self, *, dropout: float = 0.0) -> ModelDescription:
        return _described(dropout=dropout, similarity="cosine")


def _prepared(*, seed: int = 1, item_vectors: np.ndarray | None = None) -> SemanticId:
    backbone = build_backbone(_described(), seed=1)
    assert isinstance(backbone, SemanticId)
    backbone.prepare(some_sequences(), item_vectors=item_vectors, seed=seed)
    return backbone


def _rows(backbone: SemanticId) -> torch.Tensor:
    assert isinstance(backbone.items, CodedItems)
    return backbone.items.row_VM


def test_an_item_is_the_sum_of_its_code_vectors_and_no_two_are_of_the_same() -> None:
    backbone = _prepared()
    row_VM, table = _rows(backbone), backbone.items.get_parameter("weight")
    assert len({tuple(row) for row in row_VM.tolist()}) == ITEMS + 1
    for item in range(1, ITEMS + 1):
        assert torch.allclose(backbone.item_vectors()[item], table[row_VM[item]].sum(0), atol=1e-7)
        for book, row in enumerate(row_VM[item].tolist()):
            assert 1 + book * SIZE <= row < 1 + (book + 1) * SIZE
    assert not backbone.item_vectors()[0].any()


def test_item_vectors_start_as_spread_out_as_those_of_an_embedding() -> None:
    model = ModelConfig(backbone="semantic_id", codebooks=4, codebook_size=128)
    backbone = build_backbone(ModelDescription(model=model, item_count=1000, max_length=5), seed=1)
    assert abs(float(backbone.items.weight[1:].detach().std()) * 5**0.5 - 0.02) < 2e-4  # type: ignore[union-attr, operator]


def test_the_model_file_alone_brings_the_codes_back() -> None:
    backbone = _prepared()
    again = loaded(_described(), weights_bytes(backbone))
    assert torch.equal(_rows(again), _rows(backbone))  # type: ignore[arg-type]
    assert torch.equal(again.item_vectors(), backbone.item_vectors())


def test_codes_come_from_the_users_vectors_where_there_are_any() -> None:
    group_V = np.arange(ITEMS) % 2
    vectors = np.eye(2, dtype=np.float32)[group_V] * 10
    vectors += np.random.default_rng(1).standard_normal(vectors.shape).astype(np.float32) * 0.01
    first_V = _rows(_prepared(item_vectors=vectors))[1:, 0].numpy()
    assert not set(first_V[group_V == 0]) & set(first_V[group_V == 1])


def test_parameters_do_not_grow_with_the_catalogue() -> None:
    small, large = (
        build_backbone(ModelDescription(model=MODEL, item_count=items, max_length=LENGTH)) for items in (30, 3000)
    )
    assert sum(p.numel() for p in small.parameters()) == sum(p.numel() for p in large.parameters())
