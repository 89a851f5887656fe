"""The plain exact reference: every context encoded anew, every item of the catalogue scored, nothing shared or cached.

Comes in: rows whose structure is sound. Goes out: for each row that could not have come about, why. Two questions are
asked of each generated item: was it among the candidates of its pool, and did the check that let it in hold as it is
recorded? Scores are float32 and may differ in their last bits from those that decided; two scores closer than
`TOLERANCE` · |query| · (longest item vector) count as equal, in favour of the row.

With clusters, the catalogue of a context is what its nearest clusters hold. A cluster as near as the last one probed,
within the same tolerance, may or may not have been: what lies in it counts in favour of the row, whichever way that is.

Under `paper` an item at position i was judged by the context that ends with it, under `released` by the context before
it; whatever an item is judged by, it was chosen on the context before it.

Shapes: B contexts, C clusters, L positions, V items.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from rsir_scale.augmenters.rsir.rules import Rules
from rsir_scale.models.base import Backbone
from rsir_scale.ranking.clusters import Clusters
from rsir_scale.ranking.count import count_true

TOLERANCE = 1e-5
_SCORES_PER_BLOCK = 8_000_000
# A product of fewer rows spends its time on reading a large table; so many are taken where their scores fit.
_ROWS_OF_A_PRODUCT = 64
_MOST_SCORES_PER_BLOCK = 64_000_000
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


@dataclass(frozen=True)
class Probing:
    """What a clustered check looked at: the clusters, how many of them a row, and what may vouch."""

    clusters: Clusters
    nprobe: int
    semantics: str

    def seen(self, query_BD: Tensor) -> tuple[Tensor, Tensor]:
        """Which items of the table `[V + 1]` were surely looked at for each query, and which may have been."""
        probe_CD = self.clusters.probe_CD
        query_BD = torch.cat([query_BD, torch.ones((len(query_BD), 1))], 1)
        near_BC = query_BD @ probe_CD.T
        band_B1 = 2 * TOLERANCE * query_BD.norm(dim=1, keepdim=True) * probe_CD.norm(dim=1).max()
        order_BC = F.pad(near_BC, (0, 1), value=_MINUS_INFINITY).sort(1, descending=True).values
        last_B1, next_B1 = order_BC[:, self.nprobe - 1, None], order_BC[:, self.nprobe, None]
        of_V = self.clusters.cluster_V.long()
        return tuple(  # type: ignore[return-value]
            F.pad(seen_BC[:, of_V], (1, 0)) for seen_BC in (near_BC > next_B1 + band_B1, near_BC >= last_B1 - band_B1)
        )


@dataclass(frozen=True)
class _Scores:
    """Scores of the whole table; of what was surely looked at and of what may have been, -inf elsewhere."""

    all_BV: Tensor
    sure_BV: Tensor
    maybe_BV: Tensor
    band_B1: Tensor


@torch.inference_mode()
def rescore(
    rows: ScoredRows, rules: Rules, backbone: Backbone, probing: Probing | None = None
) -> list[tuple[int, str]]:
    """Find rows that the model and the rules could not have written.

    Args:
        rows: sound rows; item indices 1..V, padded with 0.
        rules: the run's rules of a trial.
        backbone: in evaluation mode; its own device and precision are used.
        probing: of a clustered check; None for the exact one.

    Returns:
        (row number, what is wrong), at most once a row and kind.
    """
    found: dict[tuple[int, str], None] = {}
    items_VD = backbone.item_vectors()
    longest = float(items_VD.norm(dim=1).max())
    per_block = _contexts_per_block(len(items_VD))
    row_C, length_C = _contexts(rows, rules)
    order = np.argsort(length_C, kind="stable")
    for begin in range(0, len(order), per_block):
        block = order[begin : begin + per_block]
        context = _Context(rows, row_C[block], length_C[block])
        query_BD = backbone.encode(context.read(backbone.max_length).to(items_VD.device))
        scores_BV = (query_BD @ items_VD.T).cpu()
        scores_BV[:, 0] = _MINUS_INFINITY
        band_B1 = (TOLERANCE * longest * query_BD.norm(dim=1, keepdim=True)).cpu()
        scores = _Scores(scores_BV, *_looked_at(scores_BV, query_BD.cpu(), probing), band_B1)
        members_only = probing is not None and probing.semantics == "membership"
        for broken_B, what in _faults(context, scores, rules, members_only=members_only):
            found.update(((int(row), what), None) for row in context.row[broken_B.numpy()])
    return list(found)


def _contexts_per_block(items: int) -> int:
    return max(1, _SCORES_PER_BLOCK // items, min(_ROWS_OF_A_PRODUCT, _MOST_SCORES_PER_BLOCK // items))


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


def _looked_at(scores_BV: Tensor, query_BD: Tensor, probing: Probing | None) -> tuple[Tensor, Tensor]:
    if probing is None:
        return scores_BV, scores_BV
    sure_BV, maybe_BV = probing.seen(query_BD)
    return scores_BV.masked_fill(~sure_BV, _MINUS_INFINITY), scores_BV.masked_fill(~maybe_BV, _MINUS_INFINITY)


def _faults(context: _Context, scores: _Scores, rules: Rules, *, members_only: bool) -> Iterator[tuple[Tensor, str]]:
    if rules.rank_threshold is not None:
        yield from _fidelity(context, scores, rules, rules.rank_threshold, members_only=members_only)
    top = 1 if rules.greedy else rules.top_candidates
    yield _outside_pool(context, scores, rules, top), f"an item is not among the {top} best of its pool"


def _fidelity(
    context: _Context, scores: _Scores, rules: Rules, threshold: int, *, members_only: bool
) -> Iterator[tuple[Tensor, str]]:
    """Hold the check that let an item in to its evidence."""
    position_B = context.length if rules.check_before_choice else context.length - 1
    judged_B = (position_B >= context.start) & (position_B < context.whole)
    item_B, voucher_B, better_B, _ = context.at(position_B)
    before_BL = context.first(position_B)
    if rules.start_vouches:
        before_BL = before_BL.masked_fill(torch.arange(before_BL.shape[1]) < context.start[:, None], 0)
    remaining_BL = ~_among(context.own, before_BL) & (context.own > 0)
    if not rules.check_before_choice and not rules.own_vouches_for_itself:
        remaining_BL &= context.own != item_B[:, None]
    least, most = (scores.sure_BV, scores.maybe_BV) if members_only else (scores.all_BV, scores.all_BV)
    least_BL = least.gather(1, context.own).masked_fill(~remaining_BL, _MINUS_INFINITY)
    most_BL = most.gather(1, context.own).masked_fill(~remaining_BL, _MINUS_INFINITY)
    yield judged_B & (most_BL == _MINUS_INFINITY).all(1), "no own item remained to vouch for an item"
    judged_B = judged_B & (most_BL > _MINUS_INFINITY).any(1)
    # The voucher's score decides; whether it is the best one is asked beside that.
    best_B1 = most_BL.amax(1, keepdim=True)
    named_BL = (context.own == voucher_B[:, None]) & (most_BL > _MINUS_INFINITY)
    named_B1 = most_BL.masked_fill(~named_BL, _MINUS_INFINITY).amax(1, keepdim=True)
    target_B1 = torch.where(named_B1 > _MINUS_INFINITY, named_B1, best_B1)
    fewest_B = count_true(scores.sure_BV > target_B1 + scores.band_B1)
    most_B = count_true(scores.maybe_BV >= target_B1 - scores.band_B1) - 1
    # Where no probed cluster holds the voucher, it is not among the items that were looked at.
    most_B += scores.maybe_BV.gather(1, voucher_B[:, None])[:, 0] == _MINUS_INFINITY
    yield judged_B & (fewest_B >= threshold), f"an item fails the check: its voucher does not rank within {threshold}"
    best_named_B = (named_B1 >= least_BL.amax(1, keepdim=True) - scores.band_B1)[:, 0] & named_BL.any(1)
    yield judged_B & ~best_named_B, "vouching_items does not name the best remaining item"
    within_B = (better_B >= fewest_B) & (better_B <= most_B) & (better_B < threshold)
    yield judged_B & ~within_B, "better_items is not the number of items that score higher"


def _outside_pool(context: _Context, scores: _Scores, rules: Rules, top: int) -> Tensor:
    """Whether the item after the context is too far down its pool; overwrites the scores."""
    exists_B = context.length < context.whole
    item_B, _, _, explored_B = context.at(context.length)
    item_B1 = item_B[:, None]
    enough_B1 = scores.all_BV.gather(1, item_B1) + scores.band_B1
    before_BL = context.first(context.length)
    own_BL = _distinct(context.own)
    if not rules.allow_repeats:
        own_BL = own_BL.masked_fill(_among(own_BL, before_BL), 0)
    own_above_B = (scores.all_BV.gather(1, own_BL) > enough_B1).sum(1)
    unseen_B = scores.maybe_BV.gather(1, item_B1)[:, 0] == _MINUS_INFINITY
    if not rules.allow_repeats:
        scores.sure_BV.scatter_(1, before_BL, _MINUS_INFINITY)
    above_B = count_true(scores.sure_BV > enough_B1)
    return exists_B & torch.where(explored_B, (above_B >= top) | unseen_B, own_above_B >= top)


def _among(items_BL: Tensor, others_BL: Tensor) -> Tensor:
    return (items_BL[:, :, None] == others_BL[:, None, :]).any(2)


def _distinct(items_BL: Tensor) -> Tensor:
    same_BLL = items_BL[:, :, None] == items_BL[:, None, :]
    return items_BL.masked_fill(same_BLL.tril(-1).any(2), 0)
