"""Rows that ask something of a model's items: encoded in blocks of similar length, answered side by side on threads.

Comes in: a model, contexts and row numbers. Goes out: the search over its items, query vectors, what the rows may not
be given, and answers, piece by piece. What is asked is the caller's affair. Each piece is answered in one thread, so
that no answer depends on how many there are.

Shapes: B rows, L positions, D width, V items.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rsir_scale.data.dataset import Sequences
from rsir_scale.errors import DivergedError
from rsir_scale.models.base import Backbone
from rsir_scale.models.inputs import blocks_by_length, pad_latest
from rsir_scale.ranking.base import ExactItemSearch, all_finite
from rsir_scale.ranking.build import exact_search

Answer = TypeVar("Answer")
_ROWS_ENCODED = 512  # at once
_ROWS_PER_PIECE = 1024  # of a thread: so many share a pass over the table
_ROWS_WORTH_A_THREAD = 64


@contextmanager
def threads_for_rows() -> Iterator[Executor]:
    """As many threads as torch may use here, each of which computes alone; what waits is dropped at an error."""
    threads = torch.get_num_threads()
    pool = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)


def packed(backbone: Backbone, allowed: npt.NDArray[np.int64] | None = None) -> tuple[ExactItemSearch, torch.device]:
    """Return the exact search over the model's items, and where they are.

    Args:
        backbone: the model.
        allowed: indices of the only items to search, ascending, which are then 1, 2, … to the search; None for all.

    Raises:
        DivergedError: an item vector is not finite.
    """
    items_VD = backbone.item_vectors().detach()
    _require_numbers(items_VD[1:], "an item")
    if allowed is not None:
        items_VD = items_VD[np.concatenate([np.zeros(1, np.int64), allowed])]
    return exact_search(items_VD), items_VD.device


def encoded(backbone: Backbone, contexts: Sequences, rows: npt.NDArray[np.int64], *, device: torch.device) -> Tensor:
    """Return the query vectors of at least one row, `[B, D]`, in the order of `rows`.

    Raises:
        DivergedError: one is not finite.
    """
    blocks = blocks_by_length(contexts.lengths[rows], rows=_ROWS_ENCODED)
    context = (pad_latest(contexts, rows[block], max_length=backbone.max_length).to(device) for block in blocks)
    query_BD = torch.cat([backbone.encode(context_BL) for context_BL in context])
    _require_numbers(query_BD, "a context")
    return query_BD[torch.from_numpy(np.concatenate(blocks).argsort()).to(device)]


def history(contexts: Sequences, rows: npt.NDArray[np.int64], *, masked: bool, device: torch.device) -> Tensor:
    """Return all items of the rows' contexts, `[B, L]`, 0-padded; of no positions where they are not masked."""
    longest = int(contexts.lengths[rows].max(initial=0)) if masked else 0
    return pad_latest(contexts, rows, max_length=longest).to(device)


def answered(
    threads: Executor, rows: int, ask: Callable[[slice], Answer], *, most: int = _ROWS_PER_PIECE
) -> Iterator[tuple[slice, Answer]]:
    """Ask about all rows, piece by piece, and yield each piece with its answer, in order.

    Args:
        threads: of `threads_for_rows`.
        rows: how many.
        ask: what a thread does with a piece.
        most: rows of a piece at the most; fewer where each thread shall have some. Changes no answer.
    """
    size = min(most, max(_ROWS_WORTH_A_THREAD, -(-rows // torch.get_num_threads())))
    pieces = [slice(first, min(rows, first + size)) for first in range(0, rows, size)]
    yield from zip(pieces, threads.map(ask, pieces), strict=True)


def _require_numbers(vectors_BD: Tensor, whose: str) -> None:
    """Refuse a vector that is not finite: it compares with nothing, so that every target would rank first."""
    if not all_finite(vectors_BD):
        raise DivergedError(
            f"the model gives {whose} a vector with NaN or infinity, by which nothing can be ranked: train at a lower "
            "training.learning_rate, or mend the class that model.backbone names"
        )
