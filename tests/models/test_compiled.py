"""The compiled blocks compute what torch computes, in any company, on every set of instructions that is here."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from rsir_scale.config.settings import ModelConfig
from rsir_scale.errors import ConfigError
from rsir_scale.models.base import Backbone
from rsir_scale.models.checkpoint import build_backbone
from rsir_scale.models.compiled import CompiledBlocks, instructions, takes
from rsir_scale.models.layers import PlainBlocks, TransformerBlock
from rsir_scale.models.memory import Memory
from rsir_scale.runs.trained import ModelDescription
from tests.models.contract import contexts

LENGTH = 9
SIZES = [(16, 1, 16), (32, 2, 48), (64, 2, 128), (48, 3, 256)]

pytestmark = pytest.mark.skipif(not instructions(), reason="the kernel was not built: no C++ compiler was found")


def _built(size: tuple[int, int, int], *, norm: str = "post", seed: int = 0, spread: float = 0.3) -> Backbone:
    width, heads, feed_forward = size
    model = ModelConfig(width=width, blocks=2, heads=heads, feed_forward=feed_forward, dropout=0.0, norm=norm)
    backbone = build_backbone(ModelDescription(model=model, item_count=30, max_length=LENGTH), seed=seed).eval()
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(seed)) * spread)
    return backbone


def _blocks(backbone: Backbone) -> list[TransformerBlock]:
    return [block for block in backbone.modules() if isinstance(block, TransformerBlock)]


def _positions(context_BL: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Item, position and path of every position of the contexts."""
    row_N, position_N = (context_BL > 0).nonzero(as_tuple=True)
    path_BL = torch.zeros_like(context_BL)
    path_BL[row_N, position_N] = torch.arange(len(row_N))
    return context_BL[row_N, position_N], position_N, path_BL[row_N]


@torch.inference_mode()
def _queries(backbone: Backbone, blocks: CompiledBlocks | PlainBlocks, context_BL: Tensor) -> Tensor:
    memory = Memory(blocks, like_D=backbone.item_vectors()[0])
    item_N, position_N, path_NL = _positions(context_BL)
    memory.keep(torch.arange(0), room=len(item_N))
    memory.take(len(item_N))
    return backbone.advance(memory, item_N, position_N, path_NL)


@pytest.mark.parametrize("using", instructions())
@pytest.mark.parametrize("norm", ["post", "pre"])
@given(size=st.sampled_from(SIZES), seed=st.integers(0, 2**31), spread=st.sampled_from([0.02, 0.1, 0.3]))
def test_the_compiled_blocks_compute_what_torch_does(using, norm, size, seed, spread) -> None:
    backbone, context_BL = _built(size, norm=norm, seed=seed, spread=spread), contexts(seed=seed % 1000)
    compiled_ND = _queries(backbone, CompiledBlocks(_blocks(backbone), using=using), context_BL)
    double = backbone.double()
    expected_ND = _queries(double, PlainBlocks(_blocks(double)), context_BL)
    assert (compiled_ND - expected_ND).abs().max() <= 1e-5 * expected_ND.abs().max()


@pytest.mark.parametrize("using", instructions())
@given(data=st.data())
def test_a_position_is_encoded_alike_to_the_last_bit_in_any_company(using: str, data: st.DataObject) -> None:
    backbone, context_BL = _built((32, 2, 48)), contexts(rows=60)
    blocks = CompiledBlocks(_blocks(backbone), using=using)
    row_N = (context_BL > 0).nonzero()[:, 0]
    everyone_ND = _queries(backbone, blocks, context_BL)
    some = data.draw(st.permutations(range(60)))[: data.draw(st.integers(1, 60))]
    alone_ND = _queries(backbone, blocks, context_BL[some])
    assert torch.equal(alone_ND, torch.cat([everyone_ND[row_N == row] for row in some]))


def test_a_backbone_of_whole_vectors_in_single_precision_is_advanced_by_the_kernel() -> None:
    assert _built((32, 2, 48)).memory().blocks.name == instructions()[0]
    for other in (_built((24, 1, 48)), _built((32, 2, 48)).double()):
        assert other.memory().blocks.name == "torch"
        assert not takes(_blocks(other))


def test_later_training_does_not_reach_blocks_that_were_packed() -> None:
    backbone, context_BL = _built((32, 2, 48)), contexts()
    blocks = CompiledBlocks(_blocks(backbone))
    before_ND = _queries(backbone, blocks, context_BL)
    with torch.no_grad():
        for block in _blocks(backbone):
            block.expand.weight.zero_()
    assert torch.equal(_queries(backbone, blocks, context_BL), before_ND)


def test_instructions_that_are_not_here_are_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=f"blocks cannot use abacus here .found: {instructions()[0]}"):
        CompiledBlocks(_blocks(_built((32, 2, 48))), using="abacus")
