"""A class of the user's own is a backbone like any other; one that breaks the contract is refused before training."""

from pathlib import Path
from typing import Literal

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rsir_scale.config.settings import ModelConfig
from rsir_scale.errors import ConfigError
from rsir_scale.models.base import Backbone
from rsir_scale.models.memory import Memory
from rsir_scale.models.plugin import plugin_class
from rsir_scale.models.probe import probe, require_item_embedding
from rsir_scale.runs.trained import ModelDescription
from tests.models.contract import ITEMS, LENGTH, BackboneContract
from tests.models.written import written_backbones


def _described(
    backbone: str,
    *,
    dropout: float = 0.0,
    max_length: int = LENGTH,
    similarity: Literal["dot", "cosine"] = "dot",
    **options: int,
) -> ModelDescription:
    model = ModelConfig(
        backbone=backbone,
        width=8,
        blocks=1,
        heads=2,
        feed_forward=12,
        dropout=dropout,
        similarity=similarity,
        options=dict(options),
    )
    return ModelDescription(model=model, item_count=ITEMS, max_length=max_length)


class TestGRU4Rec(BackboneContract):
    def description(self, *, dropout: float = 0.0) -> ModelDescription:
        return _described(written_backbones()["GRU4Rec"], dropout=dropout, state=10)


class TestFrequencyEncoder(BackboneContract):
    def description(self, *, dropout: float = 0.0) -> ModelDescription:
        return _described(written_backbones()["FrequencyEncoder"], dropout=dropout, lowest=2)


class Plain(Backbone):
    """Sums the vectors so far: the smallest backbone there is."""

    def __init__(self, config: ModelConfig, *, item_count: int, max_length: int) -> None:
        super().__init__(item_count=item_count, max_length=max_length, width=config.width)
        self.items = nn.Embedding(item_count + 1, config.width, padding_idx=0)

    def hidden(self, context_BL: Tensor) -> Tensor:
        return self.items(context_BL).cumsum(1)

    def item_vectors(self) -> Tensor:
        return self.items.weight


class NoBackbone:
    """Has nothing to do with it."""


class WithoutVectors(Backbone):
    def hidden(self, context_BL: Tensor) -> Tensor:
        return context_BL


class WithoutEncoder(Backbone):
    def __init__(self, config: ModelConfig, *, item_count: int, max_length: int) -> None:
        super().__init__(item_count=item_count, max_length=max_length, width=config.width)

    def item_vectors(self) -> Tensor:
        return torch.zeros(1)


class OtherArguments(Plain):
    def __init__(self, size: int) -> None: ...


class Raises(Plain):
    def hidden(self, context_BL: Tensor) -> Tensor:
        raise RuntimeError("no such luck")


class ShortTable(Plain):
    def item_vectors(self) -> Tensor:
        return self.items.weight[1:]


class LastOnly(Plain):
    def hidden(self, context_BL: Tensor) -> Tensor:
        return self.items(context_BL).sum(1)


class Halves(Plain):
    def hidden(self, context_BL: Tensor) -> Tensor:
        return super().hidden(context_BL).double()


class Elsewhere(Plain):
    def item_vectors(self) -> Tensor:
        return self.items.weight.to("meta")


class NoTensor(Plain):
    def hidden(self, context_BL: Tensor) -> Tensor:
        return super().hidden(context_BL).tolist()  # type: ignore[return-value]


class NotANumber(Plain):
    def hidden(self, context_BL: Tensor) -> Tensor:
        return super().hidden(context_BL) * float("nan")


class LooksAhead(Plain):
    def hidden(self, context_BL: Tensor) -> Tensor:
        return self.items(context_BL).sum(1, keepdim=True).expand(-1, context_BL.shape[1], -1)


class ReadsPadding(Plain):
    def encode(self, context_BL: Tensor) -> Tensor:
        return self.items(context_BL).mean(1)


class ReadsOtherRows(Plain):
    def hidden(self, context_BL: Tensor) -> Tensor:
        hidden_BLD = super().hidden(context_BL)
        return hidden_BLD - hidden_BLD.mean(0)


class TwoMinds(Plain):
    def encode(self, context_BL: Tensor) -> Tensor:
        return super().encode(context_BL) + 1.0


class OtherVectors(Plain):
    def vectors_of(self, item: Tensor) -> Tensor:
        return super().vectors_of(item) * 2.0


class Forgets(Plain):
    def memory(self) -> Memory:
        return Memory(_NoBlocks(), like_D=self.items.weight[0])

    def advance(self, memory: Memory, item_N: Tensor, position_N: Tensor, path_NL: Tensor) -> Tensor:
        return torch.zeros((len(item_N), self.width))


class _NoBlocks:
    name, count = "none", 1

    def advance(self, x_ND: Tensor, memory: Memory, position_N: Tensor, path_NL: Tensor) -> Tensor:
        return x_ND


class LearnsNothing(Plain):
    def hidden(self, context_BL: Tensor) -> Tensor:
        return super().hidden(context_BL).detach()


class ItemsLearnNothing(Plain):
    def vectors_of(self, item: Tensor) -> Tensor:
        return super().vectors_of(item).detach()


class ForgetsTheContext(Forgets):
    def advance(self, memory: Memory, item_N: Tensor, position_N: Tensor, path_NL: Tensor) -> Tensor:
        return self.encode(item_N[:, None])


class BatchNorm(Plain):
    def __init__(self, config: ModelConfig, *, item_count: int, max_length: int) -> None:
        super().__init__(config, item_count=item_count, max_length=max_length)
        self.norm = nn.BatchNorm1d(config.width)

    def hidden(self, context_BL: Tensor) -> Tensor:
        return self.norm(super().hidden(context_BL).transpose(1, 2)).transpose(1, 2)


class StrangeEmbedding(Plain):
    def item_embedding(self) -> nn.Embedding:
        return nn.Embedding(*self.items.weight.shape)


class ShortEmbedding(Plain):
    def __init__(self, config: ModelConfig, *, item_count: int, max_length: int) -> None:
        super().__init__(config, item_count=item_count, max_length=max_length)
        self.kinds = nn.Embedding(5, config.width)

    def item_embedding(self) -> nn.Embedding:
        return self.kinds


class NeverBegun(Plain):
    def __init__(self, config: ModelConfig, *, item_count: int, max_length: int) -> None:
        self.sizes = (config.width, item_count, max_length)


class BegunAsModuleOnly(Plain):
    def __init__(self, config: ModelConfig, *, item_count: int, max_length: int) -> None:
        nn.Module.__init__(self)


class ReadsLess(Plain):
    def __init__(self, config: ModelConfig, *, item_count: int, max_length: int) -> None:
        super().__init__(config, item_count=item_count, max_length=max_length - 1)


class OnePositionShort(Plain):
    def __init__(self, config: ModelConfig, *, item_count: int, max_length: int) -> None:
        super().__init__(config, item_count=item_count, max_length=max_length)
        self.positions = nn.Embedding(max_length - 1, config.width)

    def hidden(self, context_BL: Tensor) -> Tensor:
        return super().hidden(context_BL) + self.positions(torch.arange(context_BL.shape[1]))


class LooksAheadLate(Plain):
    def hidden(self, context_BL: Tensor) -> Tensor:
        vectors_BLD = self.items(context_BL)
        following_BLD = torch.cat([vectors_BLD[:, 1:], torch.zeros_like(vectors_BLD[:, :1])], dim=1)
        late_L = (torch.arange(context_BL.shape[1]) > 3).float()
        return super().hidden(context_BL) + late_L[:, None] * following_BLD


class LossOfEachRow(Plain):
    def auxiliary_loss(self, context_BL: Tensor, *, draws: torch.Generator) -> Tensor:
        return self.items(context_BL).square().sum((1, 2))


class MemoryOfOnesOwn(Plain):
    def memory(self) -> Memory:
        return {}  # type: ignore[return-value]


class WithTensor(Plain):
    def __init__(self, config: ModelConfig, *, item_count: int, max_length: int) -> None:
        super().__init__(config, item_count=item_count, max_length=max_length)
        self.keep()

    def keep(self) -> None: ...


class Complex(WithTensor):
    def keep(self) -> None:
        self.filter = nn.Parameter(torch.ones(3, dtype=torch.complex64))


class InfiniteMask(WithTensor):
    def keep(self) -> None:
        self.register_buffer("mask", torch.full((3, 3), float("-inf")).triu(1))


class OneNumberSpread(WithTensor):
    def keep(self) -> None:
        self.register_buffer("spread", torch.ones(1).expand(5))


class KeepsMore(Plain):
    def get_extra_state(self) -> dict[str, int]:
        return {"more": 1}

    def set_extra_state(self, state: dict[str, int]) -> None: ...


class MaskNotKept(WithTensor):
    def keep(self) -> None:
        self.register_buffer("mask", torch.full((3, 3), float("-inf")).triu(1), persistent=False)


class OfOneLength(Plain):
    def __init__(self, config: ModelConfig, *, item_count: int, max_length: int) -> None:
        super().__init__(config, item_count=item_count, max_length=max_length)
        self.length = config.temperature**-0.5

    def item_vectors(self) -> Tensor:
        return F.normalize(super().item_vectors(), dim=-1) * self.length


class OfOneLengthBoth(OfOneLength):
    def hidden(self, context_BL: Tensor) -> Tensor:
        return F.normalize(super().hidden(context_BL), dim=-1) * self.length


def test_the_smallest_backbone_passes_at_any_length() -> None:
    for max_length in (1, 2, LENGTH):
        probe(_described(f"{__name__}:Plain", max_length=max_length))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("NoBackbone", "no subclass of Backbone"),
        ("Absent", r"cannot be imported \(AttributeError"),
        ("WithoutVectors", r"__init__ gave TypeError: .*item_vectors"),
        ("WithoutEncoder", "__init__ gave TypeError: WithoutEncoder has neither hidden nor encode"),
        ("OtherArguments", r"__init__ gave TypeError"),
        ("Raises", "hidden gave RuntimeError: no such luck"),
        ("ShortTable", r"item_vectors gave float32 \[30, 8\] on cpu, expected float32 \[31, 8\] on cpu"),
        ("NeverBegun", "__init__ gave AttributeError: .* expected a Backbone after super"),
        ("BegunAsModuleOnly", "__init__ gave AttributeError: .* expected a Backbone after super"),
        ("ReadsLess", rf"__init__ gave a Backbone with .*'max_length': {LENGTH - 1}.*max_length={LENGTH}"),
        ("OnePositionShort", "hidden gave IndexError"),
        ("LooksAheadLate", "hidden gave values that differ .* it must not look ahead"),
        ("LossOfEachRow", r"auxiliary_loss gave float32 \[2\] on cpu, expected float32 \[\]"),
        ("MemoryOfOnesOwn", "memory gave 'dict', expected a Memory or None"),
        ("LastOnly", rf"hidden gave float32 \[2, 8\] on cpu, expected float32 \[2, {LENGTH}, 8\]"),
        ("Halves", rf"hidden gave float64 \[2, {LENGTH}, 8\]"),
        ("Elsewhere", r"item_vectors gave float32 \[31, 8\] on meta"),
        ("NoTensor", "hidden gave 'list'"),
        ("NotANumber", "hidden gave NaN or infinity"),
        ("LooksAhead", "hidden gave values that differ .* it must not look ahead"),
        ("ReadsPadding", "encode gave values that differ"),
        ("ReadsOtherRows", "encode gave values that differ .* without other rows"),
        ("TwoMinds", "encode gave values that differ .* from hidden"),
        ("OtherVectors", "vectors_of gave values that differ .* from the rows of item_vectors"),
        ("Forgets", "advance gave values that differ .* from hidden"),
        ("Complex", "__init__ gave the parameter 'filter' in complex64, expected real ones"),
        ("InfiniteMask", r"state_dict gave NaN or infinity in 'mask', expected .*persistent=False"),
        ("OneNumberSpread", "load_state_dict gave RuntimeError"),
        ("KeepsMore", "state_dict gave dict for '_extra_state', expected tensors alone"),
        ("LearnsNothing", "hidden and item_vectors gave what no gradient reaches"),
        ("ItemsLearnNothing", "vectors_of gave what no gradient reaches, expected tensors made from parameters"),
        ("ForgetsTheContext", "advance gave values that differ .* from hidden"),
        ("BatchNorm", r"__init__ gave a batch norm, 'norm', expected .*nn\.LayerNorm"),
    ],
)
def test_a_class_that_breaks_the_contract_is_refused_with_method_and_signature(name: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        probe(_described(f"{__name__}:{name}"))
    assert f"model.backbone={__name__}:{name}" in str(caught.value)
    if name != "Absent":
        assert "item_count: int, max_length: int" in str(caught.value)


@pytest.mark.parametrize("name", ["StrangeEmbedding", "ShortEmbedding"])
def test_sparse_updates_want_the_models_own_embedding_with_a_row_for_each_item(name: str) -> None:
    backbone = probe(_described(f"{__name__}:{name}"))
    with pytest.raises(ConfigError, match=rf"item_embedding of {name} gave Embedding.* of its own with 31 rows"):
        require_item_embedding(backbone)


def test_a_mask_that_is_not_kept_may_be_infinite() -> None:
    probe(_described(f"{__name__}:MaskNotKept"))


@pytest.mark.parametrize(("name", "method"), [("Plain", "item_vectors"), ("OfOneLength", "encode")])
def test_a_cosine_is_refused_that_the_class_does_not_make(name: str, method: str) -> None:
    told = f"{method} gave vectors of length .* expected 3.78 for all, .* or set model.similarity=dot"
    with pytest.raises(ConfigError, match=told):
        probe(_described(f"{__name__}:{name}", similarity="cosine"))
    probe(_described(f"{__name__}:OfOneLengthBoth", similarity="cosine"))


def test_a_module_that_is_missing_or_fails_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"no_such_package\.encoders:Mine cannot be imported .*PYTHONPATH"):
        plugin_class("no_such_package.encoders:Mine")
    (tmp_path / "fails_at_once.py").write_text("raise OSError('disk on fire')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match="OSError: disk on fire"):
        plugin_class("fails_at_once:Mine")
