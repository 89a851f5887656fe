"""Choosing: the best when greedy, by the softmax's own frequencies when sampling, nothing from an empty pool."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rsir_scale.augmenters.rsir.choice import Pool, choose, own_pool

INFINITY = float("inf")


def _choose(scores: list[float], uniforms: np.ndarray, temperature: float) -> list[int]:
    items = [place + 1 if score > -INFINITY else 0 for place, score in enumerate(scores)]
    pool = Pool(torch.tensor([items]), torch.tensor([scores], dtype=torch.float64))
    context_B = torch.zeros(len(uniforms), dtype=torch.int64)
    return choose(pool, context_B, torch.from_numpy(uniforms), greedy=False, temperature=temperature).tolist()


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_items_are_sampled_as_often_as_the_softmax_says(temperature: float) -> None:
    scores = [2.0, 1.0, 1.0, -3.0, -INFINITY]
    drawn = _choose(scores, (np.arange(20_000) + 0.5) / 20_000, temperature)
    weights = np.exp(np.array(scores) / temperature)
    shares = np.bincount(drawn, minlength=6)[1:] / 20_000
    # Evenly spread uniforms hit each share to the width of one of them.
    assert np.abs(shares - weights / weights.sum()).max() < 1e-4


@given(
    scores=st.lists(st.floats(-500, 500), min_size=1, max_size=8),
    blanks=st.integers(0, 3),
    uniform=st.floats(0.0, 1.0, exclude_max=True),
)
def test_a_blank_is_never_sampled_while_the_pool_has_an_item(scores: list[float], blanks: int, uniform: float) -> None:
    ordered = sorted(scores, reverse=True) + [-INFINITY] * blanks
    assert 1 <= _choose(ordered, np.array([uniform]), 0.1)[0] <= len(scores)


@pytest.mark.parametrize("greedy", [True, False])
def test_an_empty_pool_gives_no_item(greedy: bool) -> None:
    nothing = Pool(torch.zeros((2, 3), dtype=torch.int64), torch.full((2, 3), -INFINITY))
    uniforms = torch.tensor([0.0, 0.999], dtype=torch.float64)
    assert choose(nothing, torch.tensor([0, 1]), uniforms, greedy=greedy, temperature=1.0).tolist() == [0, 0]


def test_greedy_takes_the_first_of_each_rows_context_whatever_the_draw() -> None:
    pool = Pool(torch.tensor([[7, 3], [2, 9]]), torch.tensor([[1.0, 1.0], [0.0, -5.0]]))
    uniforms = torch.tensor([0.99, 0.99, 0.0], dtype=torch.float64)
    assert choose(pool, torch.tensor([1, 0, 1]), uniforms, greedy=True, temperature=1.0).tolist() == [2, 7, 2]


@given(data=st.data(), top=st.integers(1, 9))
def test_the_own_pool_is_the_best_own_items_that_are_free(data: st.DataObject, top: int) -> None:
    own = sorted(data.draw(st.lists(st.integers(0, 6), min_size=1, max_size=8, unique=True)))
    own += [0] * data.draw(st.integers(0, 3))
    score = {item: data.draw(st.sampled_from([-1.0, 0.0, 2.0])) for item in own}
    free = [item > 0 and data.draw(st.booleans()) for item in own]
    score_1R = torch.tensor([[score[item] for item in own]], dtype=torch.float64)
    pool = own_pool(torch.tensor([own]), score_1R, torch.tensor([free]), top=top)
    chosen = [item for item, may in zip(own, free, strict=True) if may]
    wanted = sorted(chosen, key=lambda item: (-score[item], item))[:top]
    width = min(top, len(own))
    assert pool.item_UP[0].tolist() == wanted + [0] * (width - len(wanted))
    assert pool.score_UP[0].tolist() == [score[item] for item in wanted] + [-INFINITY] * (width - len(wanted))
