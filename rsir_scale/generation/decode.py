"""The decoder: all trials of a shard, many rows at a time, one encode and one search a step.

A step encodes one more item of every context and searches once: that serves both the check (paper Eq. 1) and the next
choice. Rows that end are replaced at once, in their place, by waiting trials, longest sources first, so that the batch
stays full until the shard is nearly done, and tables only ever narrow. Which rows share a batch depends on the shard
alone. It reads no held-out item and knows nothing of files or of Ray.

Shapes: B rows, L context positions, R distinct own items, P candidates.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rsir_scale.data.dataset import Sequences
from rsir_scale.generation.choice import choose
from rsir_scale.generation.encoder import encoder_of
from rsir_scale.generation.rules import Rules
from rsir_scale.generation.state import DecodingRows, StopReason, Trials, begin
from rsir_scale.generation.tally import Tally, tally_checks
from rsir_scale.models.base import Backbone
from rsir_scale.randomness import Purpose, uniforms
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


@torch.inference_mode()
def decode(
    backbone: Backbone, search: ItemSearch, sources: Sequences, rules: Rules, *, identity: tuple[int, int]
) -> Decoded:
    """Run every trial of every source to its end.

    Args:
        backbone: in evaluation mode; decoding happens on its device, in its precision.
        search: over the backbone's item table.
        sources: source sequences of 2 items or more, already cut as the reading wants.
        rules: the rules of a trial.
        identity: (seed, iteration), which with a row's source and trial keys every draw.
    """
    device = backbone.item_vectors().device
    waiting = _trials(sources, rules)
    longest = max(int(sources.lengths.max(initial=2)), rules.max_length or 0)
    encoder = encoder_of(backbone, slots=min(rules.batch_size, len(waiting)), longest=longest)

    def start(trials: Trials, width: int) -> DecodingRows:
        width = max(width, int(sources.lengths[trials.source].max(initial=2)))
        return begin(sources, trials, rules, identity=identity, width=width, device=device)

    rows = start(waiting.first(rules.batch_size), 0)
    waiting = waiting.after(rules.batch_size)
    encoder.begin(torch.arange(len(rows), device=device), rows)
    ended: list[DecodingRows] = []
    tally = Tally()
    while len(rows):
        rows = rows.resized(rows.width_needed())
        rows, counted = _step(search, encoder.queries(rows), rows, rules, identity=identity)
        tally = tally.plus(counted)
        ended_B = rows.stop_B != StopReason.GOING
        ended.append(rows.take(ended_B))
        free = ended_B.nonzero()[:, 0]
        if len(free) and len(waiting):
            started = start(waiting.first(len(free)), rows.context_BL.shape[1])
            slot = free[: len(started)]
            rows = rows.replaced(slot, started)
            encoder.begin(slot, started)
            waiting, free = waiting.after(len(free)), free[len(started) :]
        if len(free):
            kept_B = torch.ones_like(ended_B).index_fill(0, free, False)
            rows = rows.take(kept_B)
            encoder.keep(kept_B)
    return _collect(ended, sources, rules, tally)


def _trials(sources: Sequences, rules: Rules) -> Trials:
    order = np.argsort(-sources.lengths, kind="stable")
    return Trials(
        source=np.repeat(order, rules.trials_per_sequence),
        trial=np.tile(np.arange(rules.trials_per_sequence), len(order)),
    )


def _step(
    search: ItemSearch, query_BD: Tensor, rows: DecodingRows, rules: Rules, *, identity: tuple[int, int]
) -> tuple[DecodingRows, Tally]:
    """Check every context (or the item proposed at its end), then choose the next item of the rows that go on."""
    key = (*identity, rows.sequence_B.cpu().numpy(), rows.trial_B.cpu().numpy())
    explore_B = _draw(key, rows.length_B, Purpose.POOL) >= rules.exploit_prob
    remaining_BR = (rows.own_BR > 0) & ~rows.used_BR
    if not rules.own_vouches_for_itself:
        remaining_BR &= ~(rows.proposed_B[:, None] & (rows.own_BR == rows.last_item()[:, None]))
    # Before a choice, a row is judged only if a choice follows: one at its limit ends unjudged.
    choosing_B = rows.length_B < rows.limit_B
    judged_B = remaining_BR.any(1) & choosing_B if rules.check_before_choice else rows.proposed_B
    query = SearchQuery(
        query_BD=query_BD,
        own_BR=rows.own_BR,
        vouching_BR=remaining_BR,
        checked_B=judged_B if rules.rank_threshold is not None else torch.zeros_like(judged_B),
        choosing_B=choosing_B,
        explore_B=explore_B,
        banned_BL=torch.zeros_like(rows.context_BL[:, :1]) if rules.allow_repeats else rows.context_BL,
    )
    result = search.search(query, rank_threshold=rules.rank_threshold or 1, top_candidates=rules.top_candidates)
    counted = tally_checks(rows, judged_B, result.passed_B)
    rows = _settle(rows, result, judged_B, remaining_BR.any(1), rules)
    uniform_B = _draw(key, rows.length_B, Purpose.ITEM)
    return _propose(rows, result, explore_B, uniform_B, rules), counted


def _settle(
    rows: DecodingRows, result: SearchResult, judged_B: Tensor, vouched_B: Tensor, rules: Rules
) -> DecodingRows:
    """Accept or drop proposed items, and end the rows that failed, ran out of remaining items or grew to their limit.

    Args:
        rows: the rows as they were checked.
        result: the search's answer.
        judged_B: rows that had something to judge.
        vouched_B: rows with an item that could vouch.
        rules: the rules of a trial.
    """
    failed_B = judged_B & ~result.passed_B
    accepted_B = rows.proposed_B & ~failed_B
    last_B1 = rows.last_item()[:, None]
    used_BR = rows.used_BR | (accepted_B[:, None] & (rows.own_BR == last_B1) & (rows.own_BR > 0))
    length_B = torch.where(failed_B & rows.proposed_B, rows.length_B - 1, rows.length_B)
    kept_BL = torch.arange(rows.context_BL.shape[1], device=length_B.device) < length_B[:, None]
    complete_B = ~((rows.own_BR > 0) & ~used_BR).any(1) | (failed_B & ~vouched_B)
    stop_B = torch.where(length_B >= rows.limit_B, StopReason.LENGTH, StopReason.GOING)
    stop_B = torch.where(failed_B, StopReason.FIDELITY, stop_B)
    stop_B = torch.where(complete_B, StopReason.COMPLETE, stop_B)
    # Evidence stands at the position that the check let in: the proposed one, or the one about to be chosen.
    position_B = rows.length_B - (0 if rules.check_before_choice else 1)
    position_B1 = position_B[:, None].clamp(max=rows.context_BL.shape[1] - 1)
    record_B1 = (judged_B & ~failed_B & (result.better_B >= 0))[:, None]
    return replace(
        rows,
        used_BR=used_BR,
        length_B=length_B,
        context_BL=rows.context_BL.masked_fill(~kept_BL, 0),
        proposed_B=torch.zeros_like(rows.proposed_B),
        better_BL=_record(rows.better_BL, position_B1, record_B1, result.better_B),
        voucher_BL=_record(rows.voucher_BL, position_B1, record_B1, result.voucher_B),
        stop_B=stop_B,
    )


def _propose(
    rows: DecodingRows, result: SearchResult, explore_B: Tensor, uniform_B: Tensor, rules: Rules
) -> DecodingRows:
    """Append the chosen item to every row that goes on; a row whose pool is empty ends."""
    going_B = rows.stop_B == StopReason.GOING
    item_B = choose(
        result.candidate_BP,
        result.candidate_score_BP,
        uniform_B,
        greedy=rules.greedy,
        temperature=rules.temperature,
    )
    chosen_B = going_B & (item_B > 0)
    position_B1 = rows.length_B[:, None].clamp(max=rows.context_BL.shape[1] - 1)
    used_BR = rows.used_BR
    if rules.check_before_choice:
        used_BR = used_BR | (chosen_B[:, None] & (rows.own_BR == item_B[:, None]))
    return replace(
        rows,
        used_BR=used_BR,
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


def _draw(key: tuple[object, ...], length_B: Tensor, purpose: Purpose) -> Tensor:
    """One uniform a row for the item at position `length`."""
    return torch.from_numpy(uniforms(*key, length_B.cpu().numpy(), purpose)).to(length_B.device)  # type: ignore[arg-type]


def _collect(ended: list[DecodingRows], sources: Sequences, rules: Rules, tally: Tally) -> Decoded:
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
    )
