"""Ranking some rows against some items: the piece that every rank is summed from, so that nothing is as large as V.

Comes in: items, queries, and for each of these a score to reach. Goes out: how many of the items reach it. Rows and
items meet in tiles whose scores a processor's cache holds; threads count tiles of other rows side by side, each product
in one thread, so that no count depends on how many there are. Where an item stands in the table's order is its place;
an item that may not count is left out by its place.

Shapes: B rows, L excluded items, D width, N items.
"""

from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rsir_scale.errors import DivergedError
from rsir_scale.ranking.count import count_true

ROWS_PER_TILE = 512
ITEMS_PER_TILE = 2048
# A product with fewer rows or columns rounds otherwise, and equal items would no longer tie.
_LEAST_ROWS = 16
_LEAST_COLUMNS = 256


@contextmanager
def threads_for_tiles() -> Iterator[Executor]:
    """As many threads as torch may use here, each of which computes alone; what waits is dropped at an error."""
    threads = torch.get_num_threads()
    pool = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)


def item_blocks(first: int, stop: int, *, items: int) -> Iterator[tuple[int, int]]:
    """Cut the places `first`..`stop - 1` into blocks of at most `items`, as (first, stop), all about as large."""
    blocks = -(-(stop - first) // items)
    edges = [first + (stop - first) * block // max(1, blocks) for block in range(blocks + 1)]
    yield from pairwise(edges)


@dataclass(frozen=True)
class Rows:
    """Rows, and what an item must reach to count against each.

    Attributes:
        query_BD: their query vectors.
        threshold_B1: one score a row, finite.
        excluded_BL: int64, places of items that do not count.
    """

    query_BD: Tensor
    threshold_B1: Tensor
    excluded_BL: Tensor

    def part(self, rows: npt.NDArray[np.int64]) -> "Rows":
        """Some of the rows, by number."""
        row_B = torch.from_numpy(rows).to(self.query_BD.device)
        return Rows(self.query_BD[row_B], self.threshold_B1[row_B], self.excluded_BL[row_B])

    @torch.inference_mode()
    def reached_by(
        self, items_ND: Tensor, *, first: int = 0, items_per_tile: int = ITEMS_PER_TILE
    ) -> npt.NDArray[np.int64]:
        """Count the items that reach each row's threshold.

        Args:
            items_ND: the items' vectors, on the queries' device.
            first: place of the first of them.
            items_per_tile: items that are scored at once; changes no count.
        """
        count_B = torch.zeros(len(self.query_BD), dtype=torch.int64, device=self.query_BD.device)
        query_BD = _padded(self.query_BD, _LEAST_ROWS)
        buffer = query_BD.new_empty(len(query_BD) * max(_LEAST_COLUMNS, min(items_per_tile, len(items_ND))))
        for begin, end in item_blocks(0, len(items_ND), items=items_per_tile):
            tile_ND = _padded(items_ND[begin:end], _LEAST_COLUMNS)
            scores_BN = buffer[: len(query_BD) * len(tile_ND)].view(-1, len(tile_ND))
            scores_BN = torch.mm(query_BD, tile_ND.T, out=scores_BN)[: len(count_B), : end - begin]
            column_BL = self.excluded_BL - (first + begin)
            row, which = ((column_BL >= 0) & (column_BL < end - begin)).nonzero(as_tuple=True)
            scores_BN[row, column_BL[row, which]] = float("-inf")
            count_B += count_true(scores_BN >= self.threshold_B1)
        counts: npt.NDArray[np.int64] = count_B.cpu().numpy()
        return counts


def own_scores(query_BD: Tensor, item_BD: Tensor) -> Tensor:
    """Each row's score `[B, 1]` with an item of its own, by the product that `Rows` takes, so that ties tie."""
    scores_BN = _padded(query_BD, _LEAST_ROWS) @ _padded(item_BD, _LEAST_COLUMNS).T
    return scores_BN.diagonal()[: len(query_BD), None].clone()


def require_scores(score_B1: Tensor) -> Tensor:
    """Return the scores of held-out items, all of which must be numbers: nothing reaches NaN, so it would rank first.

    Raises:
        DivergedError: one is NaN or infinite.
    """
    bad = int((~score_B1.isfinite()).sum())
    if bad:
        raise DivergedError(
            f"the model scores {bad} of {len(score_B1)} held-out items with NaN or infinity, so they have no rank: "
            "train at a lower training.learning_rate, or mend the class that model.backbone names"
        )
    return score_B1


def _padded(vectors_BD: Tensor, least: int) -> Tensor:
    """With rows of zeros after the last, where there are fewer than the least number; else the same, not copied."""
    missing = least - len(vectors_BD)
    return torch.nn.functional.pad(vectors_BD, (0, 0, 0, missing)) if missing > 0 else vectors_BD


def split(rows: npt.NDArray[np.int64], size: int) -> Iterator[npt.NDArray[np.int64]]:
    """Cut an array into pieces of at most `size`."""
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
