"""The decoder: all trials of a shard, many rows at a time, one encode and one search a step.

A step encodes one more item of every distinct context and searches once: that serves both the check (paper Eq. 1) and
the next choice, for all trials that are there. Rows that end are replaced at once, in their place, by waiting trials,
longest sources first, so that the batch stays full until the shard is nearly done, and tables only ever narrow. Which
rows share a batch depends on the shard alone. It reads no held-out item and knows nothing of files or of Ray.

Shapes: B rows, U distinct contexts, L context positions, R distinct own items, P candidates.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rsir_scale.augmenters.rsir.choice import Pool, choose, own_pool
from rsir_scale.augmenters.rsir.contexts import Contexts, ContextTree, Tree, distinct
from rsir_scale.augmenters.rsir.rules import Rules
from rsir_scale.augmenters.rsir.state import DecodingRows, StopReason
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
        rows = rows.resized(rows.width_needed())
        rows, contexts = tree.grow(rows)
        rows, counted = _step(search, contexts, rows, rules)
        tally = tally.plus(counted)
        ended_B = rows.stop_B != StopReason.GOING
        free = ended_B.nonzero()[:, 0]
        ended.append(rows.take(free))
        if len(free) and len(waiting):
            started = waiting.next(len(free), width=rows.context_BL.shape[1])
            rows = rows.replaced(free[: len(started)], started)
            free = free[len(started) :]
        if len(free):
            rows = rows.take(torch.ones_like(ended_B).index_fill_(0, free, False).nonzero()[:, 0])
    return _collect(ended, sources, rules, tally, tree.name)


def _step(search: ItemSearch, contexts: Contexts, rows: DecodingRows, rules: Rules) -> tuple[DecodingRows, Tally]:
    """Check every context (or the item proposed at its end), then choose the next item of the rows that go on."""
    row_U, context_B = contexts.row_U, contexts.context_B
    pool_B, uniform_B = rows.draws(Purpose.POOL, Purpose.ITEM)
    explore_B = pool_B >= rules.exploit_prob
    # Rows at one context are judged alike: they hold the same items and have chosen the last of them, or not, alike.
    remaining_UR, judged_U = _to_judge(rows, row_U, rules)
    exploring_B = explore_B & (rows.length_B < rows.limit_B)
    query = SearchQuery(
        query_BD=contexts.query_UD,
        own_BR=rows.own_BR.index_select(0, row_U),
        vouching_BR=remaining_UR,
        checked_B=judged_U if rules.rank_threshold is not None else torch.zeros_like(judged_U),
        explore_B=torch.zeros_like(judged_U).index_fill_(0, context_B[exploring_B], True),
        banned_BL=row_U.new_zeros((len(row_U), 1)) if rules.allow_repeats else rows.context_BL.index_select(0, row_U),
    )
    result = search.search(query, rank_threshold=rules.rank_threshold or 1, top_candidates=rules.top_candidates)
    judged_B, passed_B = judged_U[context_B], result.passed_B[context_B]
    if rules.acceptance is not None:
        passed_B = rows.draws(Purpose.COIN)[0] < rules.acceptance
    unfailing_U = (result.seen_B < (rules.rank_threshold or 0)) & (result.voucher_B > 0)
    counted = tally_checks(rows, judged_B, passed_B, unfailing_U[context_B])
    evidence = result.better_B[context_B], result.voucher_B[context_B]
    used_UR = _used(rows, row_U)
    rows = _settle(rows, judged_B & ~passed_B, judged_B, remaining_UR.any(1)[context_B], evidence, rules)
    if rules.acceptance is not None:
        # A coin may have failed the row that stands for its context, and not the others there.
        going = (rows.stop_B == StopReason.GOING).nonzero()[:, 0]
        row_U = row_U.index_copy(0, context_B[going], going)
    item_B = torch.empty_like(context_B)
    for whole in (True, False):
        row_G = (explore_B == whole).nonzero()[:, 0]
        context_K, index_G = distinct(context_B[row_G], len(row_U))
        pool = _pool(result, context_K, rows.own_BR[row_U[context_K]], used_UR[context_K], rules, whole=whole)
        item_B[row_G] = choose(pool, index_G, uniform_B[row_G], greedy=rules.greedy, temperature=rules.temperature)
    return _propose(rows, item_B, explore_B, rules), counted


def _used(rows: DecodingRows, row_U: Tensor) -> Tensor:
    """Own items that may not be chosen again at each context, `[U, R]`, the proposed one among them.

    Of trials at one context, a coin passes some and fails others: those that go on all hold the proposed item.
    """
    proposed_UR = rows.proposed_B[row_U, None] & (rows.own_BR[row_U] == rows.last_item()[row_U, None])
    return rows.used_BR.index_select(0, row_U) | proposed_UR


def _pool(
    result: SearchResult, context_K: Tensor, own_KR: Tensor, used_KR: Tensor, rules: Rules, *, whole: bool
) -> Pool:
    """The candidates at some contexts: of the catalogue, or of their sources' items, those used among them."""
    if whole:
        return Pool(*(part.index_select(0, context_K) for part in (result.candidate_BP, result.candidate_score_BP)))
    free_KR = (own_KR > 0) & (rules.allow_repeats | ~used_KR)
    return own_pool(own_KR, result.own_score_BR.index_select(0, context_K), free_KR, top=rules.top_candidates)


def _to_judge(rows: DecodingRows, row_U: Tensor, rules: Rules) -> tuple[Tensor, Tensor]:
    """Which own items may vouch, `[U, R]`, and whether there is something to judge, `[U]`, in the given rows."""
    own_UR, proposed_U = rows.own_BR.index_select(0, row_U), rows.proposed_B[row_U]
    remaining_UR = (own_UR > 0) & ~rows.spent_BR.index_select(0, row_U)
    if not rules.own_vouches_for_itself:
        remaining_UR &= ~(proposed_U[:, None] & (own_UR == rows.last_item()[row_U, None]))
    if not rules.check_before_choice:
        return remaining_UR, proposed_U
    # Before a choice, a row is judged only if a choice follows: one at its limit ends unjudged.
    return remaining_UR, remaining_UR.any(1) & (rows.length_B < rows.limit_B)[row_U]


def _settle(
    rows: DecodingRows,
    failed_B: Tensor,
    judged_B: Tensor,
    vouched_B: Tensor,
    evidence: tuple[Tensor, Tensor],
    rules: Rules,
) -> DecodingRows:
    """Accept or drop proposed items, and end the rows that failed, ran out of remaining items or grew to their limit.

    Args:
        rows: the rows as they were checked.
        failed_B: rows that were judged and did not pass.
        judged_B: rows that had something to judge.
        vouched_B: rows with an item that could vouch.
        evidence: the better items of each row that were counted, and its voucher.
        rules: the rules of a trial.
    """
    better_B, voucher_B = evidence
    accepted_B = rows.proposed_B & ~failed_B
    last_B1 = rows.last_item()[:, None]
    accepted_BR = accepted_B[:, None] & (rows.own_BR == last_B1) & (rows.own_BR > 0)
    spent_BR = rows.spent_BR | accepted_BR
    length_B = torch.where(failed_B & rows.proposed_B, rows.length_B - 1, rows.length_B)
    kept_BL = torch.arange(rows.context_BL.shape[1], device=length_B.device) < length_B[:, None]
    complete_B = ~((rows.own_BR > 0) & ~spent_BR).any(1) | (failed_B & ~vouched_B)
    stop_B = torch.where(length_B >= rows.limit_B, StopReason.LENGTH, StopReason.GOING)
    stop_B = torch.where(failed_B, StopReason.FIDELITY, stop_B)
    stop_B = torch.where(complete_B, StopReason.COMPLETE, stop_B)
    # Evidence stands at the position that the check let in: the proposed one, or the one about to be chosen.
    position_B = rows.length_B - (0 if rules.check_before_choice else 1)
    position_B1 = position_B[:, None].clamp(max=rows.context_BL.shape[1] - 1)
    record_B1 = (judged_B & ~failed_B & (better_B >= 0))[:, None]
    return replace(
        rows,
        used_BR=rows.used_BR | accepted_BR,
        spent_BR=spent_BR,
        length_B=length_B,
        context_BL=rows.context_BL.masked_fill(~kept_BL, 0),
        proposed_B=torch.zeros_like(rows.proposed_B),
        better_BL=_record(rows.better_BL, position_B1, record_B1, better_B),
        voucher_BL=_record(rows.voucher_BL, position_B1, record_B1, voucher_B),
        stop_B=stop_B,
    )


def _propose(rows: DecodingRows, item_B: Tensor, explore_B: Tensor, rules: Rules) -> DecodingRows:
    """Append the chosen item to every row that goes on; a row whose pool is empty ends."""
    going_B = rows.stop_B == StopReason.GOING
    chosen_B = going_B & (item_B > 0)
    position_B1 = rows.length_B[:, None].clamp(max=rows.context_BL.shape[1] - 1)
    chosen_BR = rows.own_BR == item_B[:, None] if rules.check_before_choice else torch.zeros_like(rows.used_BR)
    chosen_BR = chosen_BR & chosen_B[:, None]
    return replace(
        rows,
        used_BR=rows.used_BR | chosen_BR,
        spent_BR=rows.spent_BR | chosen_BR,
        faithful_B=rows.faithful_B & (rows.last_item() == rows.source_BL.gather(1, (rows.length_B - 1)[:, None])[:, 0]),
        context_BL=_record(rows.context_BL, position_B1, chosen_B[:, None], item_B),
        explored_BL=_record(rows.explored_BL, position_B1, chosen_B[:, None], explore_B),
        length_B=rows.length_B + chosen_B,
        proposed_B=chosen_B & (not rules.check_before_choice),
        stop_B=torch.where(going_B & (item_B == 0), StopReason.EXHAUSTED, rows.stop_B),
    )


def _record(table_BL: Tensor, position_B1: Tensor, where_B1: Tensor, value_B: Tensor) -> Tensor:
    value_B1 = value_B[:, None].to(table_BL.dtype)
    return table_BL.scatter(1, position_B1, torch.where(where_B1, value_B1, table_BL.gather(1, position_B1)))


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
            part = getattr(table, f"{name}_BL").cpu().numpy()
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
