"""Rows keep their order, each is answered once, on any number of threads, and torch keeps the threads that it had."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rsir_scale.errors import DivergedError
from rsir_scale.evaluation import rows as module
from rsir_scale.evaluation.rows import answered, encoded, history, packed, threads_for_rows
from tests.evaluation.worlds import Case, LastItemBackbone, cases, sequences_of

CPU = torch.device("cpu")


@pytest.fixture(params=[1, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("rows", [0, 1, 63, 200, 5000])
@pytest.mark.parametrize("most", [1, 50, 1024])
def test_every_row_is_asked_about_once_and_answers_come_in_order(threads: int, rows: int, most: int) -> None:
    with threads_for_rows() as pool:
        found = list(answered(pool, rows, lambda piece: np.arange(rows)[piece] * 2, most=most))
    assert [row for piece, _ in found for row in range(piece.start, piece.stop)] == list(range(rows))
    assert all(answer.tolist() == [2 * row for row in range(piece.start, piece.stop)] for piece, answer in found)
    assert all(piece.stop - piece.start <= most for piece, _ in found)
    assert len(found) >= min(threads, rows // 64)


def test_each_thread_computes_alone_and_an_error_gives_torch_its_threads_back(threads: int) -> None:
    with threads_for_rows() as pool:
        assert pool.submit(torch.get_num_threads).result() == 1

    def asks_what_cannot_be_answered() -> None:
        with threads_for_rows() as pool:
            list(answered(pool, 10, lambda _: torch.zeros(1).view(2)))

    with pytest.raises(RuntimeError, match="invalid for input of size 1"):
        asks_what_cannot_be_answered()
    assert torch.get_num_threads() == threads


@given(case=cases(), at_once=st.integers(1, 8), data=st.data())
def test_queries_come_in_the_order_asked_whatever_the_lengths(case: Case, at_once: int, data: st.DataObject) -> None:
    contexts = case.users.contexts
    rows = np.array(data.draw(st.lists(st.integers(0, len(contexts) - 1), min_size=1, max_size=20)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_ROWS_ENCODED", at_once)
        query_BD = encoded(case.backbone, contexts, rows, device=CPU)
    last = torch.tensor([int(contexts.row(int(row))[-1]) for row in rows])
    assert torch.equal(query_BD, case.backbone.reads_VD[last])


def test_a_history_is_the_whole_context_and_nothing_where_it_is_not_masked() -> None:
    contexts = sequences_of([[1, 2, 3], [4], [5, 5]])
    rows = np.array([2, 0])
    assert history(contexts, rows, masked=True, device=CPU).tolist() == [[5, 5, 0], [1, 2, 3]]
    assert history(contexts, rows, masked=False, device=CPU).shape == (2, 0)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_is_refused(value: float) -> None:
    items, reads = torch.ones((4, 2)), torch.ones((4, 2))
    items[2, 1] = value
    with pytest.raises(DivergedError, match="gives an item a vector with NaN or infinity"):
        packed(LastItemBackbone(items, reads, max_length=3))
    with pytest.raises(DivergedError, match="gives a context a vector with NaN or infinity"):
        encoded(LastItemBackbone(reads, items, max_length=3), sequences_of([[1, 2]]), np.array([0]), device=CPU)


def test_padding_may_hold_anything_and_great_vectors_are_no_infinities() -> None:
    items = torch.full((4, 2), 3e38)
    items[0] = float("nan")
    search, _ = packed(LastItemBackbone(items, items, max_length=3, dtype=torch.float))
    assert search.name.startswith("exact/")
