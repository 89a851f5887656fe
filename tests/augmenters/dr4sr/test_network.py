"""The regenerator: what padding, company and later tokens must not change."""

import torch

from rsir_scale.augmenters.dr4sr.network import DecoderBlock, Regenerator
from rsir_scale.augmenters.dr4sr.options import Dr4srOptions
from tests.augmenters.dr4sr.worlds import regenerator

OPTIONS = Dr4srOptions(memories=3, feed_forward=8, longest=6)
SOURCE = torch.tensor([[4, 2, 5]])
QUIET = torch.zeros((1, 3))


def network() -> Regenerator:
    return regenerator(items=9, known=[2, 4, 5], options=OPTIONS, seed=3).double()


def pattern(*items: int) -> torch.Tensor:
    return torch.tensor([[10, *items]])


@torch.inference_mode()
def test_padding_of_source_and_pattern_changes_nothing() -> None:
    model = network()
    query, weight = model(SOURCE, pattern(2, 5), QUIET, heat=1.0)
    padded = model(torch.tensor([[4, 2, 5, 0, 0]]), pattern(2, 5, 0), QUIET, heat=1.0)
    assert torch.allclose(padded[0][:, :3], query)
    assert torch.allclose(padded[1], weight)


@torch.inference_mode()
def test_a_query_reads_no_later_token_once_the_memory_is_chosen() -> None:
    model = network()
    memory_BSD = model.remember(SOURCE)[:, :, 0]
    states = [model.embedded(pattern(2, last), 0) for last in (4, 5)]
    for block in model.decoder:
        states = [block(x_BTD, memory_BSD, None) for x_BTD in states]
    assert torch.equal(states[0][:, :2], states[1][:, :2])
    assert not torch.allclose(states[0][:, 2], states[1][:, 2])


@torch.inference_mode()
def test_advancing_token_by_token_gives_what_the_whole_pattern_gives() -> None:
    model = network()
    memory_BSD = model.remember(SOURCE)[:, :, 1]
    whole = model.embedded(pattern(2, 5), 0)
    for block in model.decoder:
        whole = block(whole, memory_BSD, None)
    blocks = [block for block in model.decoder if isinstance(block, DecoderBlock)]
    tokens = [block.own.kept(memory_BSD[:, :0]) for block in blocks]
    for step, token in enumerate((10, 2, 5)):
        x = model.embedded(torch.tensor([[token]]), step)
        for place, block in enumerate(blocks):
            x, tokens[place] = block.advance(x, tokens[place], block.recall.kept(memory_BSD))
        assert torch.allclose(x[:, 0], whole[:, step])


@torch.inference_mode()
def test_the_cooler_the_sharper_is_the_choice_of_a_memory() -> None:
    model = network()
    sharpest = [float(model(SOURCE, pattern(2), QUIET, heat=heat)[1].max()) for heat in (10.0, 1.0, 0.01)]
    assert sharpest == sorted(sharpest)
    assert sharpest[-1] > 0.99


@torch.inference_mode()
def test_noise_may_choose_any_memory() -> None:
    model = network()
    for memory in range(3):
        noise = torch.zeros((1, 3)).index_fill(1, torch.tensor([memory]), 1e6)
        assert int(model(SOURCE, pattern(2), noise, heat=0.1)[1].argmax()) == memory


@torch.inference_mode()
def test_memories_differ_and_depend_on_the_order_of_the_source() -> None:
    model = network()
    memory = model.remember(SOURCE)
    assert not torch.allclose(memory[:, :, 0], memory[:, :, 1])
    assert not torch.allclose(memory.mean(1), model.remember(SOURCE.flip(1)).mean(1))


def test_only_items_of_training_and_the_end_may_be_written() -> None:
    assert network().known_V.nonzero()[:, 0].tolist() == [2, 4, 5, 11]


def test_items_start_from_the_vectors_that_are_given() -> None:
    model = network().float()
    vectors = torch.randn(10, 8)
    tokens = model.tokens.weight[10:].clone()
    model.start_from(vectors, torch.tensor([1]))
    assert torch.equal(model.tokens.weight[1:10], vectors[1:])
    assert torch.equal(model.tokens.weight[10:], tokens)
    assert not model.tokens.weight[0].any()
