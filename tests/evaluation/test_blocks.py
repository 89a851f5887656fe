"""Counts are those of one plain comparison, on any number of threads, and torch keeps the threads that it had."""

from collections.abc import Iterator
from functools import partial

import pytest
import torch
from torch import Tensor

from rsir_scale.evaluation.blocks import Rows, threads_for_tiles


@pytest.fixture(params=[1, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_counts_are_those_of_a_plain_comparison_on_any_number_of_threads(threads: int) -> None:
    draws = torch.Generator().manual_seed(5)

    def whole_numbers(*shape: int) -> Tensor:
        # Their sums are exact, so that a score may equal the threshold.
        return torch.randint(-3, 4, shape, generator=draws).float()

    items_ND, nothing_BL = whole_numbers(5000, 16), torch.full((40, 1), -1)
    rows = [Rows(whole_numbers(40, 16), whole_numbers(40, 1), nothing_BL) for _ in range(7)]
    with threads_for_tiles() as pool:
        found = [count_B.tolist() for count_B in pool.map(partial(Rows.reached_by, items_ND=items_ND), rows)]
    assert found == [(some.query_BD @ items_ND.T >= some.threshold_B1).sum(1).tolist() for some in rows]
    assert torch.get_num_threads() == threads


def test_each_thread_computes_alone_and_an_error_gives_torch_its_threads_back(threads: int) -> None:
    with threads_for_tiles() as pool:
        assert pool.submit(torch.get_num_threads).result() == 1

    def scores_a_broken_tile() -> None:
        with threads_for_tiles() as pool:
            pool.submit(torch.zeros(1).view, 2).result()

    with pytest.raises(RuntimeError, match="invalid for input of size 1"):
        scores_a_broken_tile()
    assert torch.get_num_threads() == threads
