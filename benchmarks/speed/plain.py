"""Two plain ways to write sequences, as anyone would first write them: what the engine is measured against.

Shapes: B rows, R own items, L context positions, P candidates, D width, V items.
"""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from rsir_scale.augmenters.rsir.contexts import Contexts
from rsir_scale.augmenters.rsir.rules import Rules
from rsir_scale.augmenters.rsir.state import DecodingRows
from rsir_scale.data.dataset import Sequences
from rsir_scale.models.base import Backbone
from rsir_scale.randomness import Purpose, uniforms
from rsir_scale.ranking.base import SearchQuery, SearchResult
from rsir_scale.ranking.count import count_true

_MINUS_INFINITY = float("-inf")


@dataclass
class Written:
    """The contexts of ended trials, source by source and trial by trial, and the steps that they took."""

    contexts: list[tuple[int, ...]] = field(default_factory=list)
    steps: int = 0


class LiteralGenerator:
    """Algorithm 1, one trial at a time; draws are made beforehand, as a plain loop would have them from a generator."""

    def __init__(self, backbone: Backbone, sources: Sequences, rules: Rules, identity: tuple[int, int]) -> None:
        beyond = rules.check_before_choice or rules.allow_repeats or rules.start_vouches
        if beyond or rules.rank_threshold is None:
            raise SystemExit("the literal way covers reading=paper without repeats, with the check on")
        self._backbone, self._rules, self._tau = backbone, rules, rules.rank_threshold
        self._items_VD = backbone.item_vectors().detach()
        self._sources = [sources.row(row).tolist() for row in range(len(sources))]
        width = int(sources.lengths.max()) + 1
        ids, trial = sources.ids[:, None, None], np.arange(rules.trials_per_sequence)[None, :, None]
        position = np.arange(width)[None, None, :]
        self._start = uniforms(*identity, ids, trial, 0, Purpose.START)[..., 0].tolist()
        self._pool = uniforms(*identity, ids, trial, position, Purpose.POOL).tolist()
        self._item = uniforms(*identity, ids, trial, position, Purpose.ITEM).tolist()

    @torch.inference_mode()
    def run(self) -> Written:
        """Run every trial of every source."""
        written = Written()
        for row, source in enumerate(self._sources):
            for trial in range(self._rules.trials_per_sequence):
                self._trial(row, trial, source, written)
        return written

    def _trial(self, row: int, trial: int, source: list[int], written: Written) -> None:
        limit = self._rules.max_length or len(source)
        choices = min(len(source), limit) - 1
        start = 1 + int(self._start[row][trial] * choices) if self._rules.start_at_prefix else 1
        context = source[:start]
        scores_V = self._scores(context, written)
        while set(source) - set(context) and len(context) < limit:
            remaining = set(source) - set(context)
            explore = self._pool[row][trial][len(context)] >= self._rules.exploit_prob
            item = self._choose(scores_V, context, source, explore, self._item[row][trial][len(context)])
            if not self._rules.own_vouches_for_itself:
                remaining.discard(item)
            context.append(item)
            scores_V = self._scores(context, written)
            best = scores_V[torch.tensor(sorted(remaining))].max() if remaining else torch.tensor(float("inf"))
            if not remaining or int((scores_V[1:] > best).sum()) >= self._tau:
                context.pop()
                break
        written.contexts.append(tuple(context))

    def _scores(self, context: list[int], written: Written) -> Tensor:
        written.steps += 1
        latest = context[-self._backbone.max_length :]
        return self._items_VD @ self._backbone.encode(torch.tensor([latest]))[0]

    def _choose(self, scores_V: Tensor, context: list[int], source: list[int], explore: bool, draw: float) -> int:
        scores_V = scores_V.clone()
        scores_V[0] = _MINUS_INFINITY
        scores_V[torch.tensor(context)] = _MINUS_INFINITY
        pool = None if explore else torch.tensor(sorted(set(source)))
        scores_P = scores_V if pool is None else scores_V[pool]
        score_K, column_K = scores_P.topk(min(self._rules.top_candidates, len(scores_P)))
        if self._rules.greedy:
            place = 0
        else:
            weight_K = ((score_K - score_K[0]).double() / self._rules.temperature).exp()
            cumulative_K = weight_K.cumsum(0)
            place = min(int((cumulative_K <= draw * cumulative_K[-1]).sum()), len(score_K) - 1)
        return int(column_K[place] if pool is None else pool[column_K[place]])


class EachAnew:
    """A tree of contexts that shares nothing and remembers nothing: every row is encoded anew at each step."""

    name = "each anew"

    def __init__(self, backbone: Backbone) -> None:
        self._backbone = backbone

    def grow(self, rows: DecodingRows) -> tuple[DecodingRows, Contexts]:
        """Encode the latest items of every context, trimmed to the longest; see `augmenters.rsir.contexts.Tree`."""
        row_B, most = torch.arange(len(rows)), self._backbone.max_length
        first_B1 = (rows.length_B - most).clamp(min=0)[:, None]
        context_BL = rows.context_BL.gather(1, first_B1 + torch.arange(min(int(rows.length_B.max()), most)))
        return rows, Contexts(row_B, row_B, self._backbone.encode(context_BL))


class FullScan:
    """All scores of all rows, counted and sorted as they come; float32, nothing certified."""

    name = "full-scan"

    def __init__(self, items_VD: Tensor) -> None:
        self._table_DV = items_VD.detach().T.contiguous()
        self._scores_BV = torch.empty((0, items_VD.shape[0]))

    def search(self, query: SearchQuery, *, rank_threshold: int, top_candidates: int) -> SearchResult:
        """Answer one step's question; see `ItemSearch`."""
        rows = len(query.query_BD)
        if len(self._scores_BV) < rows:
            self._scores_BV = torch.empty((rows, self._table_DV.shape[1]))
        scores_BV = torch.mm(query.query_BD, self._table_DV, out=self._scores_BV[:rows])
        scores_BV[:, 0] = _MINUS_INFINITY
        own_BR = scores_BV.gather(1, query.own_BR)
        best_B, column_B = own_BR.masked_fill(~query.vouching_BR, _MINUS_INFINITY).max(1)
        better_B = count_true(scores_BV > best_B[:, None])
        passed_B = ~query.checked_B | (query.vouching_BR.any(1) & (better_B < rank_threshold))
        item_BP, score_BP = self._candidates(query, scores_BV, passed_B & query.explore_B, top_candidates)
        voucher_B = query.own_BR.gather(1, column_B[:, None])[:, 0]
        seen_B = torch.full_like(voucher_B, scores_BV.shape[1] - 1)
        return SearchResult(own_BR.double(), passed_B, voucher_B, better_B, item_BP, score_BP.double(), seen_B)

    def _candidates(self, query: SearchQuery, scores_BV: Tensor, wanted_B: Tensor, top: int) -> tuple[Tensor, Tensor]:
        item_BP = torch.zeros((len(wanted_B), top), dtype=torch.int64)
        score_BP = torch.full((len(wanted_B), top), _MINUS_INFINITY)
        scores_BV.scatter_(1, query.banned_BL, _MINUS_INFINITY)
        row_E = wanted_B.nonzero()[:, 0]
        score_BP[row_E], item_BP[row_E] = scores_BV[row_E].topk(top, dim=1)
        return item_BP.masked_fill(score_BP == _MINUS_INFINITY, 0), score_BP
