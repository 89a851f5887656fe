"""Vectors as the diffusion sees them, and the items that are nearest to them."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rsir_scale.augmenters.diffuasr.vectors import NearestItem, scaled_vectors
from rsir_scale.errors import IntegrityError


def table(items: int, *, seed: int = 0, width: int = 8) -> torch.Tensor:
    return torch.randn((items + 1, width), generator=torch.Generator().manual_seed(seed)) * 3


def test_entries_have_the_size_of_the_noise_and_directions_stay() -> None:
    items_VD = table(50)
    scaled_VD = scaled_vectors(items_VD)
    assert torch.allclose(scaled_VD[1:].square().mean(1), torch.ones(50))
    assert torch.allclose(torch.cosine_similarity(scaled_VD[1:], items_VD[1:]), torch.ones(50))
    assert not scaled_VD[0].any()


@given(st.integers(0, 1000), st.integers(1, 15), st.data())
def test_the_nearest_item_is_the_first_known_one_of_the_greatest_cosine(
    seed: int, items: int, data: st.DataObject
) -> None:
    items_VD = table(items, seed=seed)
    items_VD[1:] = items_VD[1 + np.random.default_rng(seed).integers(items, size=items)]
    known = sorted(data.draw(st.sets(st.integers(1, items), min_size=1)))
    queries_ND = table(6, seed=seed + 1)
    found = NearestItem(scaled_vectors(items_VD), np.array(known, dtype=np.int32))(queries_ND)
    cosine_NK = torch.cosine_similarity(queries_ND.double()[:, None], items_VD[known].double()[None], dim=2)
    for row, item in enumerate(found.tolist()):
        alike = [one for one in known if torch.equal(items_VD[one], items_VD[item])]
        assert item == alike[0]
        assert float(cosine_NK[row].max()) == pytest.approx(float(cosine_NK[row, known.index(item)]), abs=1e-6)


def test_a_vector_of_an_item_that_is_no_number_is_refused() -> None:
    items_VD = table(5)
    items_VD[3, 2] = float("nan")
    with pytest.raises(IntegrityError, match="not finite"):
        NearestItem(scaled_vectors(items_VD), np.arange(1, 6, dtype=np.int32))


def test_a_sample_that_is_no_number_is_a_fault_of_its_source() -> None:
    nearest = NearestItem(scaled_vectors(table(5)), np.arange(1, 6, dtype=np.int32))
    with pytest.raises(ArithmeticError):
        nearest(torch.full((1, 8), float("nan")))
