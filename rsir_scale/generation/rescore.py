"""The plain exact reference: every context encoded anew, every item of the catalogue scored, nothing shared or cached.

Comes in: rows whose structure is sound. Goes out: for each row that could not have come about, why. Two questions are
asked of each generated item: was it among the candidates of its pool, and did the check that let it in hold as it is
recorded? Scores are float32 and may differ in their last bits from those that decided; two scores closer than
`TOLERANCE` · |query| · (longest item vector) count as equal, in favour of the row.

Under `paper` an item at position i was judged by the context that ends with it, under `released` by the context before
it; whatever an item is judged by, it was chosen on the context before it.

Shapes: B contexts, L positions, V items.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rsir_scale.generation.rules import Rules
from rsir_scale.models.base import Backbone

TOLERANCE = 1e-5
_SCORES_PER_BLOCK = 8_000_000
_MINUS_INFINITY = float("-inf")
Int64Array = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ScoredRows:
    """N rows as padded matrices `[N, L]`, L at least every length; see `generation.rows` for what they mean."""

    start: Int64Array
    length: Int64Array
    items: npt.NDArray[Any]
    own: npt.NDArray[Any]
    voucher: npt.NDArray[Any]
    better: npt.NDArray[Any]
    explored: npt.NDArray[Any]


@torch.inference_mode()
def rescore(rows: ScoredRows, rules: Rules, backbone: Backbone) -> list[tuple[int, str]]:
    """Find rows that the model and the rules could not have written.

    Args:
        rows: sound rows; item indices 1..V, padded with 0.
        rules: the run's rules of a trial.
        backbone: in evaluation mode; its own device and precision are used.

    Returns:
        (row number, what is wrong), at most once a row and kind.
    """
    found: dict[tuple[int, str], None] = {}
    items_VD = backbone.item_vectors()
    longest = float(items_VD.norm(dim=1).max())
    per_block = max(1, _SCORES_PER_BLOCK // len(items_VD))
    row_C, length_C = _contexts(rows, rules)
    order = np.argsort(length_C, kind="stable")
    for begin in range(0, len(order), per_block):
        block = order[begin : begin + per_block]
        context = _Context(rows, row_C[block], length_C[block])
        query_BD = backbone.encode(context.read(backbone.max_length).to(items_VD.device))
        scores_BV = (query_BD @ items_VD.T).cpu()
        scores_BV[:, 0] = _MINUS_INFINITY
        band_B1 = (TOLERANCE * longest * query_BD.norm(dim=1, keepdim=True)).cpu()
        for broken_B, what in _faults(context, scores_BV, band_B1, rules):
            found.update(((int(row), what), None) for row in context.row[broken_B.numpy()])
    return list(found)


def _contexts(rows: ScoredRows, rules: Rules) -> tuple[Int64Array, Int64Array]:
    """Every prefix that decided something: the start up to the whole row, less the last item's where none follows."""
    last = rows.length if not rules.check_before_choice else rows.length - 1
    counts = last - rows.start + 1
    row = np.repeat(np.arange(len(counts)), counts)
    first = np.repeat(np.cumsum(counts) - counts, counts)
    return row, rows.start[row] + np.arange(len(row)) - first


class _Context:
    """A block of contexts: the first `length` items of some rows, and what stands around their ends."""

    def __init__(self, rows: ScoredRows, row: Int64Array, length: Int64Array) -> None:
        self.row = row
        self.length = torch.from_numpy(length)
        self.start = torch.from_numpy(rows.start[row])
        self.whole = torch.from_numpy(rows.length[row])
        self._items = torch.from_numpy(rows.items[row].astype(np.int64))
        self.own = torch.from_numpy(rows.own[row].astype(np.int64))
        self._voucher = torch.from_numpy(rows.voucher[row].astype(np.int64))
        self._better = torch.from_numpy(rows.better[row].astype(np.int64))
        self._explored = torch.from_numpy(rows.explored[row].astype(np.int64))

    def first(self, count_B: Tensor) -> Tensor:
        """The items before position `count_B`, 0 after it, `[B, L]`."""
        return self._items.masked_fill(torch.arange(self._items.shape[1]) >= count_B[:, None], 0)

    def read(self, max_length: int) -> Tensor:
        """What the encoder reads: the latest `max_length` items, 0-padded on the right."""
        width = min(int(self.length.max()), max_length)
        where_BL = (self.length - max_length).clamp(min=0)[:, None] + torch.arange(width)
        return self.first(self.length).gather(1, where_BL)

    def at(self, position_B: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Item, vouching item, better items and explored flag at one position of each row."""
        where_B1 = position_B.clamp(0, self._items.shape[1] - 1)[:, None]
        tables = (self._items, self._voucher, self._better, self._explored)
        item_B, voucher_B, better_B, explored_B = (table.gather(1, where_B1)[:, 0] for table in tables)
        return item_B, voucher_B, better_B, explored_B > 0


def _faults(context: _Context, scores_BV: Tensor, band_B1: Tensor, rules: Rules) -> Iterator[tuple[Tensor, str]]:
    if rules.rank_threshold is not None:
        yield from _fidelity(context, scores_BV, band_B1, rules, rules.rank_threshold)
    top = 1 if rules.greedy else rules.top_candidates
    yield _outside_pool(context, scores_BV, band_B1, rules, top), f"an item is not among the {top} best of its pool"


def _fidelity(
    context: _Context, scores_BV: Tensor, band_B1: Tensor, rules: Rules, threshold: int
) -> Iterator[tuple[Tensor, str]]:
    """Hold the check that let an item in to its evidence."""
    position_B = context.length if rules.check_before_choice else context.length - 1
    judged_B = (position_B >= context.start) & (position_B < context.whole)
    item_B, voucher_B, better_B, _ = context.at(position_B)
    remaining_BL = ~_among(context.own, context.first(position_B)) & (context.own > 0)
    if not rules.check_before_choice and not rules.own_vouches_for_itself:
        remaining_BL &= context.own != item_B[:, None]
    score_BL = scores_BV.gather(1, context.own).masked_fill(~remaining_BL, _MINUS_INFINITY)
    best_B1 = score_BL.amax(1, keepdim=True)
    named_BL = remaining_BL & (context.own == voucher_B[:, None])
    fewest_B = (scores_BV > best_B1 + band_B1).sum(1)
    most_B = (scores_BV >= best_B1 - band_B1).sum(1) - 1
    yield judged_B & ~remaining_BL.any(1), "no own item remained to vouch for an item"
    judged_B = judged_B & remaining_BL.any(1)
    yield judged_B & (fewest_B >= threshold), f"an item fails the check: its voucher does not rank within {threshold}"
    best_named_B = (named_BL & (score_BL >= best_B1 - band_B1)).any(1)
    yield judged_B & ~best_named_B, "vouching_items does not name the best remaining item"
    within_B = (better_B >= fewest_B) & (better_B <= most_B) & (better_B < threshold)
    yield judged_B & ~within_B, "better_items is not the number of items that score higher"


def _outside_pool(context: _Context, scores_BV: Tensor, band_B1: Tensor, rules: Rules, top: int) -> Tensor:
    """Whether the item after the context is too far down its pool; overwrites the scores."""
    exists_B = context.length < context.whole
    item_B, _, _, explored_B = context.at(context.length)
    enough_B1 = scores_BV.gather(1, item_B[:, None]) + band_B1
    before_BL = context.first(context.length)
    own_BL = _distinct(context.own)
    if not rules.allow_repeats:
        own_BL = own_BL.masked_fill(_among(own_BL, before_BL), 0)
    own_above_B = (scores_BV.gather(1, own_BL) > enough_B1).sum(1)
    if not rules.allow_repeats:
        scores_BV.scatter_(1, before_BL, _MINUS_INFINITY)
    above_B = (scores_BV > enough_B1).sum(1)
    return exists_B & (torch.where(explored_B, above_B, own_above_B) >= top)


def _among(items_BL: Tensor, others_BL: Tensor) -> Tensor:
    return (items_BL[:, :, None] == others_BL[:, None, :]).any(2)


def _distinct(items_BL: Tensor) -> Tensor:
    same_BLL = items_BL[:, :, None] == items_BL[:, None, :]
    return items_BL.masked_fill(same_BLL.tril(-1).any(2), 0)
