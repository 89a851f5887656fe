"""The decoder: all trials of a shard, many rows at a time, one encode and one search a step.

A step encodes one more item of every distinct context and searches once: that serves both the check (paper Eq. 1) and
the next choice, for all trials that are there. Rows that end are replaced at once, in their place, by waiting trials,
longest sources first, so that the batch stays full until the shard is nearly done, and tables only ever narrow. Which
rows share a batch depends on the shard alone. It reads no held-out item and knows nothing of files or of Ray.

Shapes: B rows, U distinct contexts, L context positions, R distinct own items, P candidates. A row is one trial, and
`context_B` says which context it is at: `value_U[context_B]` gives each row what holds at its context. `heads` is a
table of U rows, one at each context, that speaks for all rows there: they are of one source, hold the same items and
have proposed the last of them, or not, alike. A coin (`Rules.acceptance`) may end some of them; what their head held
before it was tossed still holds for those that go on. A search is asked about contexts: its B is U.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rsir_scale.augmenters.rsir.choice import Pool, choose, own_pool
from rsir_scale.augmenters.rsir.contexts import Contexts, ContextTree, Tree
from rsir_scale.augmenters.rsir.rules import Rules
from rsir_scale.augmenters.rsir.state import DecodingRows, StopReason, put
from rsir_scale.augmenters.rsir.tally import Tally, tally_checks
from rsir_scale.augmenters.rsir.waiting import Waiting
from rsir_scale.data.dataset import Sequences
from rsir_scale.models.base import Backbone
from rsir_scale.randomness import Purpose
from rsir_scale.ranking.base import ItemSearch, SearchQuery, SearchResult

_COLUMNS = ("source", "trial", "length", "start", "stop")
_MATRICES = {"context": np.int32, "better": np.int32, "voucher": np.int32, "explored": np.bool_}


@dataclass(frozen=True)
class Decoded:
    """Ended trials, one row each, ordered by (source, trial).

    Attributes:
        source: int64[N], row of the source in the shard.
        trial: int64[N].
        context: int32[N, L], the start and the accepted items, 0-padded.
        length: int64[N], items in the context.
        start_length: int64[N], how many of them the trial started with.
        stop: int64[N], a `StopReason`.
        better, voucher: int32[N, L], explored: bool[N, L]; evidence of each accepted position.
        tally: counts of checks and their outcomes.
        encoder: what encoded the contexts.
    """

    source: npt.NDArray[np.int64]
    trial: npt.NDArray[np.int64]
    context: npt.NDArray[np.int32]
    length: npt.NDArray[np.int64]
    start_length: npt.NDArray[np.int64]
    stop: npt.NDArray[np.int64]
    better: npt.NDArray[np.int32]
    voucher: npt.NDArray[np.int32]
    explored: npt.NDArray[np.bool_]
    tally: Tally
    encoder: str


@dataclass(frozen=True)
class _Check:
    """What came of each row's check.

    Attributes:
        judged_B: there was something to judge.
        failed_B: it did not pass.
        vouched_B: there was an item that could vouch.
        better_B, voucher_B: see `SearchResult`.
    """

    judged_B: Tensor
    failed_B: Tensor
    vouched_B: Tensor
    better_B: Tensor
    voucher_B: Tensor


@torch.inference_mode()
def decode(
    backbone: Backbone,
    search: ItemSearch,
    sources: Sequences,
    rules: Rules,
    *,
    identity: tuple[int, int],
    tree: Tree | None = None,
) -> Decoded:
    """Run every trial of every source to its end.

    Args:
        backbone: in evaluation mode; decoding happens on its device, in its precision.
        search: over the backbone's item table.
        sources: source sequences of 2 items or more, already cut as the reading wants.
        rules: the rules of a trial.
        identity: (seed, iteration), which with a row's source and trial keys every draw.
        tree: encodes the contexts; None for `ContextTree`.
    """
    waiting = Waiting(sources, rules, identity=identity, device=backbone.item_vectors().device)
    tree = tree or ContextTree(backbone, longest=max(int(sources.lengths.max(initial=2)), rules.max_length or 0))
    rows = waiting.next(rules.batch_size)
    ended: list[DecodingRows] = []
    tally = Tally()
    while len(rows):
        rows, contexts = tree.grow(rows.resized(rows.width_needed()))
        rows, counted = _step(search, contexts, rows, rules)
        tally = tally.plus(counted)
        free = (rows.stop_B != StopReason.GOING).nonzero()[:, 0]
        ended.append(rows.take(free))
        rows = _refilled(rows, free, waiting)
    return _collect(ended, sources, rules, tally, tree.name)


def _refilled(rows: DecodingRows, free: Tensor, waiting: Waiting) -> DecodingRows:
    """Begin trials in the places of rows that have ended, and close the places for which none are left."""
    if len(free) and len(waiting):
        started = waiting.next(len(free), width=rows.context_BL.shape[1])
        rows = rows.replaced(free[: len(started)], started)
        free = free[len(started) :]
    if not len(free):
        return rows
    return rows.take(torch.ones_like(rows.stop_B).index_fill_(0, free, 0).nonzero()[:, 0])


def _step(search: ItemSearch, contexts: Contexts, rows: DecodingRows, rules: Rules) -> tuple[DecodingRows, Tally]:
    """Check every context (or the item proposed at its end), then choose the next item of the rows that go on."""
    context_B, heads = contexts.context_B, rows.take(contexts.row_U)
    pool_B, uniform_B = rows.draws(Purpose.POOL, Purpose.ITEM)
    explore_B = pool_B >= rules.exploit_prob
    exploring_B = explore_B & (rows.length_B < rows.limit_B)
    exploring_U = torch.zeros_like(heads.proposed_B).index_fill_(0, context_B[exploring_B], True)
    query, judged_U = _question(contexts.query_UD, heads, exploring_U, rules)
    result = search.search(query, rank_threshold=rules.rank_threshold or 1, top_candidates=rules.top_candidates)
    judged_B, passed_B = judged_U[context_B], result.passed_B[context_B]
    if rules.acceptance is not None:
        passed_B = rows.draws(Purpose.COIN)[0] < rules.acceptance
    unfailing_U = (result.seen_B < (rules.rank_threshold or 0)) & (result.voucher_B > 0)
    counted = tally_checks(rows, judged_B, passed_B, unfailing_U[context_B])
    check = _Check(
        judged_B=judged_B,
        failed_B=judged_B & ~passed_B,
        vouched_B=query.vouching_BR.any(1)[context_B],
        better_B=result.better_B[context_B],
        voucher_B=result.voucher_B[context_B],
    )
    item_B = torch.empty_like(context_B)
    catalogue, source = partial(_catalogue_pool, result), partial(_source_pool, result, heads, rules)
    for pool, here_B in ((catalogue, explore_B), (source, ~explore_B)):
        if here_B.any():
            drawn = context_B[here_B], uniform_B[here_B]
            item_B[here_B] = choose(pool(), *drawn, greedy=rules.greedy, temperature=rules.temperature)
    return _propose(_settle(rows, check, rules), item_B, explore_B, rules), counted


def _question(query_UD: Tensor, heads: DecodingRows, exploring_U: Tensor, rules: Rules) -> tuple[SearchQuery, Tensor]:
    """What to ask of the search about each context, and whether there is something to judge there, `[U]`."""
    vouching_UR = (heads.own_BR > 0) & ~heads.spent_BR
    if not rules.own_vouches_for_itself:
        vouching_UR &= ~(heads.proposed_B[:, None] & (heads.own_BR == heads.last_item()[:, None]))
    judged_U = heads.proposed_B
    if rules.check_before_choice:
        # A row is judged only if a choice follows: one at its limit ends unjudged.
        judged_U = vouching_UR.any(1) & (heads.length_B < heads.limit_B)
    query = SearchQuery(
        query_BD=query_UD,
        own_BR=heads.own_BR,
        vouching_BR=vouching_UR,
        checked_B=judged_U if rules.rank_threshold is not None else torch.zeros_like(judged_U),
        explore_B=exploring_U,
        banned_BL=torch.zeros_like(heads.context_BL[:, :1]) if rules.allow_repeats else heads.context_BL,
    )
    return query, judged_U


def _catalogue_pool(result: SearchResult) -> Pool:
    """The best items of the catalogue at each context where a row explores."""
    return Pool(result.candidate_BP, result.candidate_score_BP)


def _source_pool(result: SearchResult, heads: DecodingRows, rules: Rules) -> Pool:
    """The best items of its source at each context, those already in it left out unless they may repeat."""
    free_UR = (heads.own_BR > 0) & (rules.allow_repeats | ~heads.used_BR)
    return own_pool(heads.own_BR, result.own_score_BR, free_UR, top=rules.top_candidates)


def _settle(rows: DecodingRows, check: _Check, rules: Rules) -> DecodingRows:
    """Accept or drop proposed items; end the rows that failed, ran out of remaining items or grew to their limit."""
    accepted_B = rows.proposed_B & ~check.failed_B
    spent_BR = rows.spent_BR | (accepted_B[:, None] & (rows.own_BR == rows.last_item()[:, None]))
    length_B = torch.where(check.failed_B & rows.proposed_B, rows.length_B - 1, rows.length_B)
    kept_BL = torch.arange(rows.context_BL.shape[1], device=length_B.device) < length_B[:, None]
    complete_B = ~((rows.own_BR > 0) & ~spent_BR).any(1) | (check.failed_B & ~check.vouched_B)
    stop_B = torch.where(length_B >= rows.limit_B, StopReason.LENGTH, StopReason.GOING)
    stop_B = torch.where(check.failed_B, StopReason.FIDELITY, stop_B)
    stop_B = torch.where(complete_B, StopReason.COMPLETE, stop_B)
    # Evidence stands at the position that the check let in: the proposed one, or the one about to be chosen.
    position_B = rows.length_B if rules.check_before_choice else rows.length_B - 1
    let_in_B = check.judged_B & ~check.failed_B & (check.better_B >= 0)
    return replace(
        rows,
        spent_BR=spent_BR,
        length_B=length_B,
        context_BL=rows.context_BL.masked_fill(~kept_BL, 0),
        proposed_B=torch.zeros_like(rows.proposed_B),
        evidence=rows.evidence.checked(let_in_B, position_B, check.better_B, check.voucher_B),
        stop_B=stop_B,
    )


def _propose(rows: DecodingRows, item_B: Tensor, explore_B: Tensor, rules: Rules) -> DecodingRows:
    """Append the chosen item to every row that goes on; a row whose pool is empty ends."""
    going_B = rows.stop_B == StopReason.GOING
    chosen_B = going_B & (item_B > 0)
    chosen_BR = chosen_B[:, None] & (rows.own_BR == item_B[:, None])
    return replace(
        rows,
        used_BR=rows.used_BR | chosen_BR,
        spent_BR=rows.spent_BR | chosen_BR if rules.check_before_choice else rows.spent_BR,
        faithful_B=rows.faithful_B & (rows.last_item() == rows.source_BL.gather(1, (rows.length_B - 1)[:, None])[:, 0]),
        context_BL=put(rows.context_BL, chosen_B, rows.length_B, item_B),
        evidence=rows.evidence.chosen(chosen_B, rows.length_B, explore_B),
        length_B=rows.length_B + chosen_B,
        proposed_B=chosen_B & (not rules.check_before_choice),
        stop_B=torch.where(going_B & (item_B == 0), StopReason.EXHAUSTED, rows.stop_B),
    )


def _collect(ended: list[DecodingRows], sources: Sequences, rules: Rules, tally: Tally, encoder: str) -> Decoded:
    """Put every ended trial in its place: trial t of source s in row s · m + t."""
    rows = len(sources) * rules.trials_per_sequence
    width = max((table.context_BL.shape[1] for table in ended), default=1)
    column: dict[str, npt.NDArray[Any]] = {name: np.zeros(rows, dtype=np.int64) for name in _COLUMNS}
    matrix: dict[str, npt.NDArray[Any]] = {
        name: np.zeros((rows, width), dtype=dtype) for name, dtype in _MATRICES.items()
    }
    matrix["better"] -= 1
    for table in ended:
        place = (table.source_B * rules.trials_per_sequence + table.trial_B).cpu().numpy()
        for name, values in column.items():
            values[place] = getattr(table, f"{name}_B").cpu().numpy()
        for name, values in matrix.items():
            part = getattr(table if name == "context" else table.evidence, f"{name}_BL").cpu().numpy()
            values[place, : part.shape[1]] = part
    return Decoded(
        source=column["source"],
        trial=column["trial"],
        length=column["length"],
        start_length=column["start"],
        stop=column["stop"],
        **matrix,
        tally=tally,
        encoder=encoder,
    )
