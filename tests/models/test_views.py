"""A view is a run of a row, a row with items hidden, or a row with a run of it in another order."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from rsir_scale.models.views import Shares, cropped, masked, reordered, two_views
from tests.models.contract import contexts

SHARES = st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.8, 1.0])
SEEDS = st.integers(0, 2**32)


def _drawn(context_BL: Tensor, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    draws = torch.Generator().manual_seed(seed)
    start_B = torch.rand(len(context_BL), generator=draws, dtype=torch.float64)
    order_BL = torch.rand(context_BL.shape, generator=draws, dtype=torch.float64)
    return (context_BL > 0).sum(1), start_B, order_BL


def _row(item_L: Tensor) -> list[int]:
    return item_L[item_L > 0].tolist()


@given(share=SHARES, seed=SEEDS)
def test_a_crop_is_a_run_of_the_share_of_its_row(share: float, seed: int) -> None:
    context_BL = contexts(seed=seed)
    length_B, start_B, _ = _drawn(context_BL, seed)
    for before_L, after_L in zip(context_BL, cropped(context_BL, length_B, share, start_B), strict=True):
        before, after = _row(before_L), _row(after_L)
        assert len(after) == max(1, int(len(before) * share))
        assert after_L[len(after) :].sum() == 0
        assert any(before[first : first + len(after)] == after for first in range(len(before)))


@given(share=SHARES, seed=SEEDS)
def test_masking_hides_the_share_of_a_row_and_no_padding(share: float, seed: int) -> None:
    context_BL = contexts(seed=seed)
    length_B, _, order_BL = _drawn(context_BL, seed)
    masked_BL = masked(context_BL, length_B, share, order_BL)
    assert torch.equal(masked_BL.sum(1), (length_B * share).floor().long())
    assert not masked_BL[context_BL == 0].any()


@given(share=SHARES, seed=SEEDS)
def test_reordering_moves_nothing_but_a_run_of_the_share_of_its_row(share: float, seed: int) -> None:
    context_BL = contexts(seed=seed)
    length_B, start_B, order_BL = _drawn(context_BL, seed)
    after_BL = reordered(context_BL, length_B, share, start_B, order_BL)
    for before_L, after_L in zip(context_BL, after_BL, strict=True):
        assert sorted(_row(before_L)) == sorted(_row(after_L))
        assert torch.equal(before_L == 0, after_L == 0)
        moved = (before_L != after_L).nonzero()[:, 0]
        if len(moved):
            assert moved.max() - moved.min() < int(len(_row(before_L)) * share)


def test_every_place_of_a_row_begins_a_run_as_often() -> None:
    context_BL = torch.arange(1, 10).repeat(6000, 1)
    length_B, start_B, _ = _drawn(context_BL, 3)
    first = cropped(context_BL, length_B, 0.5, start_B)[:, 0].numpy()
    counts = np.bincount(first, minlength=7)[1:]
    assert len(counts) == 6
    assert abs(counts / 1000 - 1).max() < 0.12


def test_the_two_views_of_a_row_are_made_in_different_ways_and_all_pairs_occur() -> None:
    context_BL = torch.arange(1, 10).repeat(4000, 1)
    one, other = two_views(context_BL, Shares(0.5, 0.5, 1.0), draws=torch.Generator().manual_seed(1))
    ways = []
    for view in (one, other):
        short_B = (view.item_BL > 0).sum(1) < 9
        hidden_B = view.masked_BL.any(1)
        assert not (short_B & hidden_B).any()
        ways.append(torch.where(short_B, 0, torch.where(hidden_B, 1, 2)))
    counts = torch.bincount(ways[0] * 3 + ways[1], minlength=9).view(3, 3)
    assert not counts.diagonal().any()
    assert int(counts.fill_diagonal_(1000).min()) > 550
