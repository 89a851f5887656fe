"""The compiled pass over packed contexts is that of torch in double precision, forwards and backwards, on every set of
instructions that is here; and so is its dropout, element by element."""

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rsir_scale.errors import ConfigError
from rsir_scale.models.compiled_packed import ends, instructions, takes, through_blocks
from rsir_scale.models.hstu_block import HSTUBlock
from rsir_scale.models.layers import Block, TransformerBlock
from rsir_scale.models.packed import Drops, PackedContexts, pack

pytestmark = pytest.mark.skipif(not instructions(), reason="the kernel was not built: no C++ compiler was found")

KINDS = ["post", "pre", "hstu"]
# Width, heads, feed-forward.
SIZES = [(16, 1, 16), (32, 2, 48), (64, 2, 128), (48, 3, 80), (80, 1, 32)]
# Of the greatest number of an outcome or gradient. Nearly all are within 1e-6; a norm of a row that dropout left almost
# even magnifies what rounding left.
BOUND = 1e-4
MAX_LENGTH = 120


def _stack(kind: str, size: tuple[int, int, int], *, spread: float, seed: int) -> list[Block]:
    width, heads, feed_forward = size
    draws = torch.Generator().manual_seed(seed)
    blocks: list[Block] = []
    for _ in range(2):
        block: Block = (
            HSTUBlock(width=width, heads=heads, max_length=MAX_LENGTH, dropout=0.0)
            if kind == "hstu"
            else TransformerBlock(width=width, heads=heads, feed_forward=feed_forward, dropout=0.0, norm=kind)  # type: ignore[arg-type]
        )
        with torch.no_grad():
            for weight in block.parameters():
                weight.add_(torch.randn(weight.shape, generator=draws) * spread)
        blocks.append(block)
    return blocks


def _contexts(lengths: list[int], *, key: int = 3) -> PackedContexts:
    length_B = torch.tensor(sorted(lengths))
    context_BL = (torch.arange(int(length_B.max())) < length_B[:, None]).long()
    return pack(context_BL, identity_B=np.arange(len(lengths)), key=key)


def _plain(blocks: list[Block], x_TD: Tensor, contexts: PackedContexts, drops: Drops) -> Tensor:
    x_TD = drops.at(0, x_TD)
    for number, block in enumerate(blocks):
        x_TD = block.packed(x_TD, contexts, drops.of_block(number))
    return x_TD


def _through(contexts: PackedContexts, drops: Drops, blocks: list[Block], x_TD: Tensor) -> Tensor:
    return through_blocks(blocks, x_TD, contexts, drops)


def _way(through: Any, blocks: list[Block], x_TD: Tensor, pull_TD: Tensor) -> dict[str, Tensor]:
    """What goes out and all gradients, under an even pull and one of the tokens' own."""
    for block in blocks:
        block.zero_grad()
    x_TD = x_TD.clone().requires_grad_()
    out_TD = through(blocks, x_TD)
    (out_TD * pull_TD).sum().backward()
    assert x_TD.grad is not None
    found = {"out": out_TD.detach(), "in": x_TD.grad}
    for number, block in enumerate(blocks):
        found |= {f"{number}.{name}": weight.grad for name, weight in block.named_parameters()}
    return {name: tensor.double() for name, tensor in found.items() if tensor is not None}


def _both(blocks: list[Block], contexts: PackedContexts, rate: float, *, seed: int, using: str | None) -> list[Any]:
    width = (blocks[0].project_out if isinstance(blocks[0], HSTUBlock) else blocks[0].contract).out_features  # type: ignore[union-attr]
    draws = torch.Generator().manual_seed(seed)
    x_TD, pull_TD = (torch.randn(len(contexts.row_T), width, generator=draws) for _ in range(2))
    drops = Drops(rate, contexts.seed_T)
    found = _way(lambda blocks, x_TD: through_blocks(blocks, x_TD, contexts, drops, using=using), blocks, x_TD, pull_TD)
    for block in blocks:
        block.double()
    plain = _way(lambda blocks, x_TD: _plain(blocks, x_TD, contexts, drops), blocks, x_TD.double(), pull_TD.double())
    return [found, plain]


@pytest.mark.parametrize("using", instructions())
@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=8)
@given(
    size=st.sampled_from(SIZES),
    lengths=st.lists(st.one_of(st.integers(1, 20), st.just(MAX_LENGTH)), min_size=1, max_size=14),
    rate=st.sampled_from([0.0, 0.2, 0.5]),
    spread=st.sampled_from([0.02, 0.1, 0.2]),
    seed=st.integers(0, 2**31),
)
def test_outcome_and_every_gradient_are_those_of_torch_in_double_precision(
    using: str, kind: str, size: tuple[int, int, int], lengths: list[int], rate: float, spread: float, seed: int
) -> None:
    blocks, contexts = _stack(kind, size, spread=spread, seed=seed), _contexts(lengths, key=seed)
    found, plain = _both(blocks, contexts, rate, seed=seed, using=using)
    assert found.keys() == plain.keys()
    for name, expected in plain.items():
        # A gradient that cancels out, as by the bias of keys, is as wrong as what it is the sum of.
        scale = max(float(expected.abs().max()), 0.1)
        assert (found[name] - expected).abs().max() <= BOUND * scale, name


@pytest.mark.parametrize("using", instructions())
@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=6)
@given(
    size=st.sampled_from(SIZES),
    lengths=st.lists(st.one_of(st.integers(1, 20), st.just(MAX_LENGTH)), min_size=1, max_size=30),
    spread=st.sampled_from([0.02, 0.1, 0.2]),
    seed=st.integers(0, 2**31),
)
def test_what_comes_out_at_the_ends_of_contexts_is_that_of_torch_in_double_precision(
    using: str, kind: str, size: tuple[int, int, int], lengths: list[int], spread: float, seed: int
) -> None:
    """In any order of the contexts: packing sorts them, the ends need not be."""
    blocks, contexts, length_B = _stack(kind, size, spread=spread, seed=seed), _contexts(lengths), torch.tensor(lengths)
    x_TD = torch.randn(len(contexts.row_T), size[0], generator=torch.Generator().manual_seed(seed))
    by_length_B = length_B.argsort(stable=True)
    unsorted_TD = torch.cat([x_TD.split(sorted(lengths))[place] for place in by_length_B.argsort()])
    found_BD = ends(blocks, unsorted_TD, length_B, using=using)
    for block in blocks:
        block.double()
    with torch.no_grad():
        out_TD = _plain(blocks, x_TD.double(), contexts, Drops(0.0, contexts.seed_T))
    expected_BD = out_TD[contexts.offset_B1[1:] - 1]
    scale = max(float(expected_BD.abs().max()), 0.1)
    assert (found_BD[by_length_B] - expected_BD).abs().max() <= BOUND * scale


@pytest.mark.parametrize("kind", KINDS)
def test_the_end_of_a_context_is_the_same_to_the_last_bit_in_any_company_and_on_any_threads(kind: str) -> None:
    blocks, length_B = _stack(kind, (32, 2, 48), spread=0.1, seed=5), torch.arange(1, 60).roll(17)
    x_TD = torch.randn(int(length_B.sum()), 32, generator=torch.Generator().manual_seed(6))
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        everyone_BD = ends(blocks, x_TD, length_B)
    finally:
        torch.set_num_threads(before)
    alone = [ends(blocks, own_TD, torch.tensor([len(own_TD)])) for own_TD in x_TD.split(length_B.tolist())]
    assert torch.equal(torch.cat(alone), everyone_BD)


@pytest.mark.parametrize("lengths", [[], [0], [3, 0, 1]])
def test_a_context_without_an_item_has_no_end(lengths: list[int]) -> None:
    with pytest.raises(ValueError, match="a context has no item"):
        ends(_stack("post", (32, 2, 48), spread=0.0, seed=0), torch.zeros(sum(lengths), 32), torch.tensor(lengths))


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_is_the_slope_of_the_outcome(kind: str) -> None:
    """Without dropout, along a random direction, by differences of the compiled pass itself."""
    blocks, contexts = _stack(kind, (32, 2, 48), spread=0.1, seed=1), _contexts([1, 3, 7])
    drops, draws = Drops(0.5, contexts.seed_T), torch.Generator().manual_seed(2)
    x_TD, pull_TD, along_TD = (torch.randn(11, 32, generator=draws) for _ in range(3))
    gradient_TD = _way(partial(_through, contexts, drops), blocks, x_TD, pull_TD)["in"]

    def outcome(step: float) -> float:
        with torch.no_grad():
            return float((through_blocks(blocks, x_TD + step * along_TD, contexts, drops) * pull_TD).double().sum())

    slope = (outcome(1e-2) - outcome(-1e-2)) / 2e-2
    assert slope == pytest.approx(float((gradient_TD * along_TD).sum()), rel=5e-3, abs=1e-2)


@pytest.mark.parametrize("kind", KINDS)
def test_the_number_of_threads_changes_no_bit(kind: str) -> None:
    blocks, contexts = _stack(kind, (32, 2, 48), spread=0.1, seed=3), _contexts([*range(1, 21), 50, 100])
    before, ways = torch.get_num_threads(), []
    draws = torch.Generator().manual_seed(4)
    x_TD, pull_TD = (torch.randn(len(contexts.row_T), 32, generator=draws) for _ in range(2))
    drops = Drops(0.3, contexts.seed_T)
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            ways.append(_way(partial(_through, contexts, drops), blocks, x_TD, pull_TD))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(way[name], ways[0][name]) for way in ways[1:] for name in way)


def test_a_context_is_encoded_alike_to_the_last_bit_in_any_company() -> None:
    blocks, lengths = _stack("post", (32, 2, 48), spread=0.1, seed=5), list(range(1, 30))
    contexts = _contexts(lengths)
    x_TD = torch.randn(len(contexts.row_T), 32, generator=torch.Generator().manual_seed(6))
    everyone_TD = through_blocks(blocks, x_TD, contexts, Drops(0.5, contexts.seed_T))
    some = [4, 11, 28]
    context_BL = contexts.context_BL[some]
    alone = pack(context_BL, identity_B=np.array(some), key=3)
    kept_T = torch.isin(contexts.row_T, torch.tensor(some))
    alone_TD = through_blocks(blocks, x_TD[kept_T], alone, Drops(0.5, alone.seed_T))
    assert torch.equal(alone_TD, everyone_TD[kept_T])


@pytest.mark.parametrize("kind", KINDS)
def test_passes_that_are_open_at_once_and_one_after_another_keep_their_numbers_apart(kind: str) -> None:
    blocks, sizes = _stack(kind, (32, 2, 48), spread=0.1, seed=9), ([3, 40], [2, 5, 7], [1, 30])
    draws = torch.Generator().manual_seed(10)
    opened, alone = [], []
    for lengths in sizes:
        contexts = _contexts(lengths)
        x_TD = torch.randn(len(contexts.row_T), 32, generator=draws)
        drops = Drops(0.2, contexts.seed_T)
        alone.append(_way(partial(_through, contexts, drops), blocks, x_TD, torch.ones_like(x_TD))["in"])
        x_TD.requires_grad_()
        opened.append((x_TD, through_blocks(blocks, x_TD, contexts, drops)))
    for (x_TD, out_TD), expected_TD in zip(opened, alone, strict=True):
        out_TD.sum().backward()
        assert x_TD.grad is not None
        assert torch.equal(x_TD.grad.double(), expected_TD)


def test_a_pass_without_gradients_gives_the_same() -> None:
    blocks, contexts = _stack("pre", (32, 2, 48), spread=0.1, seed=7), _contexts([2, 5])
    x_TD, drops = torch.randn(7, 32, generator=torch.Generator().manual_seed(8)), Drops(0.5, contexts.seed_T)
    with_gradients_TD = through_blocks(blocks, x_TD.requires_grad_(), contexts, drops)
    with torch.inference_mode():
        assert torch.equal(through_blocks(blocks, x_TD, contexts, drops), with_gradients_TD)


def test_other_widths_precisions_and_blocks_are_left_to_torch() -> None:
    class Own(TransformerBlock):
        pass

    assert takes(_stack("post", (32, 2, 48), spread=0.0, seed=0))
    assert takes(_stack("hstu", (32, 2, 0), spread=0.0, seed=0))
    for size in ((24, 1, 48), (32, 4, 48), (32, 2, 40)):
        assert not takes(_stack("post", size, spread=0.0, seed=0))
    assert not takes([block.double() for block in _stack("post", (32, 2, 48), spread=0.0, seed=0)])
    assert not takes([Own(width=32, heads=2, feed_forward=48, dropout=0.0, norm="post")])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert not takes(_stack("post", (32, 2, 48), spread=0.0, seed=0))


def test_instructions_that_are_not_here_are_refused_by_name() -> None:
    blocks, contexts = _stack("post", (32, 2, 48), spread=0.0, seed=0), _contexts([2])
    with pytest.raises(ConfigError, match="compiled training blocks cannot use abacus here"):
        through_blocks(blocks, torch.zeros(2, 32), contexts, Drops(0.0, contexts.seed_T), using="abacus")
