"""Ranking some rows against some items: the piece that every rank is summed from, so that nothing is as large as V.

Comes in: queries, a block of the item table, and for each row a score to reach. Goes out: how many items of the block
reach it. The table is taken block by block, each put into columns once for many rows; a tile of scores is filled again
and again in one buffer. Where an item stands in the table's order is its place; an item that may not count is left out
by its place.

Shapes: B rows, L excluded items, D width, N items of a block.
"""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rsir_scale.ranking.count import count_true

ITEMS_PER_BLOCK = 1 << 16
ROWS_PER_GROUP = 1 << 13
_SCORES_PER_TILE = 8_000_000
_LEAST_COLUMNS = 256


def item_blocks(first: int, stop: int, *, items: int = ITEMS_PER_BLOCK) -> Iterator[tuple[int, int]]:
    """Cut the places `first`..`stop - 1` into blocks of at most `items`, as (first, stop), all about as large."""
    # A matrix product rounds otherwise where one side is very short, and equal items would no longer tie.
    blocks = -(-(stop - first) // items)
    edges = [first + (stop - first) * block // max(1, blocks) for block in range(blocks + 1)]
    yield from pairwise(edges)


def tile_rows(items: int, *, scores: int = _SCORES_PER_TILE) -> int:
    """Rows whose scores with so many items fill a tile."""
    return max(1, scores // max(1, items))


class Counter:
    """Counts items that reach a score; holds the buffer that a tile of scores is written to."""

    def __init__(self) -> None:
        self._buffer: Tensor | None = None

    def reaching(self, query_BD: Tensor, table_DN: Tensor, threshold_B1: Tensor, excluded_BL: Tensor) -> Tensor:
        """Count the items of a block that score at least the threshold, row by row, int64.

        Args:
            query_BD: of the rows.
            table_DN: the block, an item a column.
            threshold_B1: one score a row.
            excluded_BL: int64, columns that do not count; those outside 0..N-1 belong to other blocks.
        """
        rows, items = len(query_BD), table_DN.shape[1]
        scores_BN = torch.mm(query_BD, table_DN, out=self._tile(query_BD, rows, items))
        row, place = ((excluded_BL >= 0) & (excluded_BL < items)).nonzero(as_tuple=True)
        scores_BN[row, excluded_BL[row, place]] = float("-inf")
        return count_true(scores_BN >= threshold_B1)

    @staticmethod
    def own_scores(query_BD: Tensor, item_BD: Tensor) -> Tensor:
        """Each row's score `[B, 1]` with an item of its own, by the product that `reaching` takes, so that ties tie."""
        rows = len(query_BD)
        table_DN = query_BD.new_zeros((query_BD.shape[1], max(rows, _LEAST_COLUMNS)))
        table_DN[:, :rows] = item_BD.T
        return torch.mm(query_BD, table_DN).diagonal()[:, None].clone()

    def _tile(self, like: Tensor, rows: int, items: int) -> Tensor:
        if self._buffer is None or self._buffer.numel() < rows * items:
            self._buffer = like.new_empty(rows * items)
        return self._buffer[: rows * items].view(rows, items)


def split(rows: npt.NDArray[np.int64], size: int) -> Iterator[npt.NDArray[np.int64]]:
    """Cut an array into pieces of at most `size`."""
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
