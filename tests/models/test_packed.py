"""Packed contexts hold the tokens of their rows, and a token drops by its key, its context and its position alone."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rsir_scale.models.packed import Drops, pack
from rsir_scale.randomness import fold

LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=12).map(sorted)


def _context(lengths: list[int]) -> torch.Tensor:
    length_B = torch.tensor(lengths)
    place_BL = torch.arange(max(lengths)).expand(len(lengths), -1)
    return torch.where(place_BL < length_B[:, None], 1 + place_BL, 0)


@given(lengths=LENGTHS)
def test_tokens_are_the_items_row_after_row_and_rectangles_find_each_once(lengths: list[int]) -> None:
    context_BL = _context(lengths)
    contexts = pack(context_BL, identity_B=np.arange(len(lengths)), key=0)
    rows = [context_L[context_L > 0] for context_L in context_BL]
    assert torch.equal(contexts.item_T, torch.cat(rows))
    assert contexts.offset_B1.tolist() == [0, *np.cumsum(lengths).tolist()]
    found = torch.cat([token_PL[real_PL] for token_PL, real_PL in contexts.rectangles()])
    assert found.tolist() == list(range(sum(lengths)))


@given(lengths=LENGTHS, key=st.integers(0, 2**62), data=st.data())
def test_a_seed_belongs_to_key_context_and_position_whatever_the_company(
    lengths: list[int], key: int, data: st.DataObject
) -> None:
    identity_B = np.array(data.draw(st.permutations(range(100)))[: len(lengths)])
    contexts = pack(_context(lengths), identity_B=identity_B, key=key)
    expected = [
        int(fold(key, identity, place)) & 0xFFFFFFFF
        for identity, length in zip(identity_B, lengths, strict=True)
        for place in range(length)
    ]
    assert contexts.seed_T.tolist() == expected


def _long() -> torch.Tensor:
    return pack(_context([1] * 2000), identity_B=np.arange(2000), key=7).seed_T


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("place", [0, 1, 3])
def test_the_share_dropped_is_the_rate_in_rows_columns_and_neighbours(rate: float, place: int) -> None:
    seed_T = _long()
    kept_TC = (Drops(rate, seed_T).of_block(2).at(place, torch.ones(len(seed_T), 128)) > 0).double()
    error = (rate * (1 - rate)) ** 0.5
    assert abs(float(kept_TC.mean()) - (1 - rate)) < 5 * error / kept_TC.numel() ** 0.5
    for dim in (0, 1):
        share = kept_TC.mean(dim)
        assert (share - (1 - rate)).abs().max() < 6 * error / kept_TC.shape[dim] ** 0.5
    for one, other in ((kept_TC[1:], kept_TC[:-1]), (kept_TC[:, 1:], kept_TC[:, :-1])):
        together = torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1]
        assert abs(float(together)) < 5 / one.numel() ** 0.5


def test_places_and_blocks_draw_apart_and_what_stays_is_scaled() -> None:
    seed_T, ones_TC = _long(), torch.ones(2000, 64)
    drawn = [Drops(0.5, seed_T).of_block(block).at(place, ones_TC) for block in (0, 1) for place in range(4)]
    drawn.append(Drops(0.5, seed_T).at(0, ones_TC))
    assert all(set(one.unique().tolist()) == {0.0, 2.0} for one in drawn)
    for number, one in enumerate(drawn):
        for other in drawn[:number]:
            assert abs(float(((one > 0) == (other > 0)).double().mean()) - 0.5) < 0.01


def test_attention_draws_by_head_and_position_read_however_wide_the_rectangle() -> None:
    seed_T, token_PL = _long(), torch.arange(6).view(2, 3)
    wide = Drops(0.5, seed_T).of_weights(0, torch.ones(2, 2, 3, 3), token_PL)
    narrow = Drops(0.5, seed_T).of_weights(0, torch.ones(2, 2, 2, 2), token_PL[:, :2])
    assert torch.equal(wide[:, :, :2, :2], narrow)
    assert not torch.equal(wide[:, 0], wide[:, 1])


def test_rate_zero_lets_everything_through() -> None:
    x_TC = torch.randn(2000, 3)
    assert Drops(0.0, _long()).at(0, x_TC) is x_TC
