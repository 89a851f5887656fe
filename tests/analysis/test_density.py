import numpy as np
import pytest
from hypothesis import given

from rsir_scale.analysis.density import density, pairs
from tests.analysis.worlds import rows, sequences_of


@given(found=rows())
def test_a_sequence_of_n_items_has_n_less_one_pairs(found: list[list[int]]) -> None:
    assert pairs(sequences_of(found)) == sum(max(0, len(row) - 1) for row in found)


@given(found=rows())
def test_items_before_the_first_target_are_context_alone(found: list[list[int]]) -> None:
    first = np.arange(len(found)) % 4
    expected = sum(len(row[start:]) for row, start in zip(found, first.tolist(), strict=True))
    assert pairs(sequences_of(found), first) == expected


def test_density_is_pairs_over_all_that_there_could_be() -> None:
    assert density(30, users=4, items=5) == pytest.approx(1.5)
