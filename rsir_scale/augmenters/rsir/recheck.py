"""Stored rows, checked again in plain steps that share nothing with the decoder or the search.

Comes in: the table of one part, the sources of its shard, the rules and the model. Goes out: the faults found, each
with its row. Here every row is held to what needs no model: its source, id, start, length, stop reason, hash and the
draws of its identity. Rows that pass are scored again by `generation.rescore`, all of them or a chosen few.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from rsir_scale.augmenters.part import Rechecked, RowFault
from rsir_scale.augmenters.rsir.rescore import Probing, ScoredRows, rescore
from rsir_scale.augmenters.rsir.rows import BETTER_ITEMS, EVIDENCE, EXPLORED, PREFIX, STOP_REASON, VOUCHING_ITEMS
from rsir_scale.augmenters.rsir.rules import Rules
from rsir_scale.augmenters.rsir.state import StopReason
from rsir_scale.data.dataset import Sequences, from_arrow
from rsir_scale.data.schema import CONTENT_HASH
from rsir_scale.data.sequences import flatten_lists, offsets_of
from rsir_scale.models.base import Backbone
from rsir_scale.randomness import Purpose, content_hashes, uniforms
from rsir_scale.runs.columns import (
    FIRST_TARGET,
    ITERATION,
    SOURCE_SEQUENCE_ID,
    START_LENGTH,
    TRIAL,
    with_evidence,
)

BoolArray = npt.NDArray[np.bool_]
Int64Array = npt.NDArray[np.int64]
Matrix = npt.NDArray[Any]
_COMPARED = 1 << 26  # pairs of items at once
_STOPS = [reason.name.lower() for reason in StopReason if reason != StopReason.GOING]


@dataclass(frozen=True)
class ShardFacts:
    """Where a part comes from.

    Attributes:
        sources: the shard's source sequences, cut as the reading wants, in the order of the plan, short ones included.
        set_aside: sequence ids of sources that were set aside, which have no rows.
        first_id: the sequence_id that trial 0 of the shard's first source would have.
        seed: of the run.
        iteration: of the model that wrote the part.
    """

    sources: Sequences
    set_aside: Int64Array
    first_id: int
    seed: int
    iteration: int


@dataclass(frozen=True)
class _Rows:
    """The part as padded matrices `[N, L]`; evidence stands at the position of the item that it let in."""

    ids: Int64Array
    source: Int64Array
    slot: Int64Array
    trial: Int64Array
    start: Int64Array
    length: Int64Array
    limit: Int64Array
    stop: npt.NDArray[np.object_]
    items: Matrix
    own: Matrix
    voucher: Matrix
    better: Matrix
    explored: Matrix


def recheck_rows(
    table: pa.Table,
    facts: ShardFacts,
    rules: Rules,
    backbone: Backbone,
    *,
    probing: Probing | None = None,
    score: BoolArray | None = None,
) -> Rechecked:
    """Check the rows of one part.

    Args:
        table: the part, all its columns.
        facts: its shard.
        rules: the run's rules of a trial.
        backbone: the iteration's model, in evaluation mode.
        probing: what a clustered check looked at; None for the exact one.
        score: which rows to encode and score again; None for all. Everything else is checked for every row.

    Returns:
        Faults, one a row and kind at most, none for a good part; and how many rows were scored.
    """
    if table.schema.remove_metadata() != with_evidence(EVIDENCE) or any(column.null_count for column in table.columns):
        return Rechecked((RowFault(None, "columns are not those of a part, or hold nulls"),), again=0)
    faults = list(_unalignable(table, facts))
    if faults:
        bad = {fault.row for fault in faults}
        kept = np.array([row not in bad for row in table.column(0).to_pylist()], dtype=np.bool_)
        score = None if score is None else score[kept]
        table = table.filter(pa.array(kept))
    rows = _read(table, facts, rules)
    sound = np.ones(len(rows.ids), dtype=np.bool_)
    rules_broken = chain(
        _bookkeeping(table, rows, facts), _structure(rows, facts, rules, item_count=backbone.item_count)
    )
    for broken, what in rules_broken:
        faults.extend(RowFault(int(row), what) for row in rows.ids[broken & sound])
        sound &= ~broken
    chosen = np.flatnonzero(sound if score is None else sound & score)
    scored = ScoredRows(*(getattr(rows, name)[chosen] for name in ScoredRows.__dataclass_fields__))
    again = rescore(scored, rules, backbone, probing)
    faults += [RowFault(int(rows.ids[chosen[row]]), what) for row, what in again]
    return Rechecked(tuple(faults), again=len(chosen))


def _unalignable(table: pa.Table, facts: ShardFacts) -> Iterator[RowFault]:
    """Rows whose columns do not fit together, so that nothing else can be asked of them."""
    ids, lengths = table.column(0).to_numpy(), flatten_lists(table.column(1))[0]
    start = _integers(table, START_LENGTH)
    counts = [flatten_lists(table.column(name))[0] for name in (VOUCHING_ITEMS, BETTER_ITEMS, EXPLORED)]
    bad_length = (start < 1) | (lengths <= start)
    bad_evidence = ~bad_length & np.any([count != lengths - start for count in counts], axis=0)
    unknown = ~bad_length & ~bad_evidence & ~np.isin(_integers(table, SOURCE_SEQUENCE_ID), facts.sources.ids)
    for broken, what in (
        (bad_length, "start_length does not leave a start and a generated item"),
        (bad_evidence, "evidence is not of as many items as were generated"),
        (unknown, "source_sequence_id is none of the shard's sources"),
    ):
        for row in ids[broken]:
            yield RowFault(int(row), what)


def _bookkeeping(table: pa.Table, rows: _Rows, facts: ShardFacts) -> Iterator[tuple[BoolArray, str]]:
    """What must hold of a row's place and hash, as (rows that break it, the rule)."""
    stored, computed = _hashes(table)
    yield stored != computed, "content_hash is not that of the items"
    yield _integers(table, ITERATION) != facts.iteration, f"iteration is not {facts.iteration}"
    yield _integers(table, FIRST_TARGET) != 1, "first_target is not 1"
    yield np.diff(rows.ids, prepend=-1) <= 0, "sequence_id does not rise from row to row"
    set_aside = np.isin(_integers(table, SOURCE_SEQUENCE_ID), facts.set_aside)
    yield set_aside, "its source was set aside and has no rows"


def _structure(rows: _Rows, facts: ShardFacts, rules: Rules, *, item_count: int) -> Iterator[tuple[BoolArray, str]]:
    """What must hold of a row without a model, as (rows that break it, the rule)."""
    column = np.arange(rows.items.shape[1])
    inside = column < rows.length[:, None]
    start_inside = column < rows.start[:, None]
    m = rules.trials_per_sequence * rules.lengths
    source_length = facts.sources.lengths[rows.source]
    known = [*_STOPS, PREFIX] if rules.lengths > 1 else _STOPS
    yield np.any(inside & ((rows.items < 1) | (rows.items > item_count)), axis=1), f"an item is not in 1..{item_count}"
    yield (rows.slot < 0) | (rows.slot >= m), f"trial is not in 0..{m - 1}"
    yield rows.ids != facts.first_id + rows.source * m + rows.slot, "sequence_id is not that of its source and trial"
    if rules.lengths > 1:
        yield rows.slot % rules.lengths != rows.length - 2, "trial is not that of the row's length"
    yield source_length < 2, "the source is too short to start from"
    yield rows.start != _starts(rows, facts, rules, source_length), "start_length is not the one drawn for this trial"
    yield (start_inside & (rows.items != rows.own)).any(1), "the start is not a prefix of the source"
    yield rows.length < rules.min_length, f"fewer items than generation.min_length={rules.min_length}"
    yield (rows.length == source_length) & (rows.items == rows.own).all(1), "the row is its source over again"
    yield rows.length > rows.limit, "more items than the longest context allowed"
    yield np.array([stop not in known for stop in rows.stop], dtype=np.bool_), "stop_reason is unknown"
    at_limit = np.array([stop == "length" for stop in rows.stop], dtype=np.bool_)
    yield at_limit & (rows.length < rows.limit), "stop_reason is length, but the limit is not reached"
    generated = inside & ~start_inside
    drawn = _explores(rows, facts, rules)
    yield (generated & (rows.explored != drawn)).any(1), "explored is not what was drawn for this trial"
    if rules.acceptance is not None:
        judged_at = 0 if rules.check_before_choice else 1
        coins = _draws(rows, facts, Purpose.COIN, first=judged_at)
        yield np.any(generated & (coins >= rules.acceptance), axis=1), "an item was accepted against its coin"
    if not rules.allow_repeats:
        seen = _is_among(rows.items, rows.items, earlier=True)
        yield np.any(generated & seen, axis=1), "a generated item repeats an earlier one"
    own = _is_among(rows.items, rows.own)
    yield np.any(generated & ~rows.explored & ~own, axis=1), "an exploited item is not one of the user's own"


def _is_among(items: Matrix, others: Matrix, *, earlier: bool = False) -> Matrix:
    """Whether each item `[N, L]` is one of its row of `others`, or of those before its own place in it."""
    at_once = max(1, _COMPARED // (items.shape[1] * others.shape[1] or 1))
    found: Matrix = np.zeros(items.shape, dtype=np.bool_)
    for start in range(0, len(items), at_once):
        rows = slice(start, start + at_once)
        equal = items[rows, :, None] == others[rows, None, :]
        found[rows] = (np.tril(equal, -1) if earlier else equal).any(2)
    return found


def _starts(rows: _Rows, facts: ShardFacts, rules: Rules, source_length: Int64Array) -> Int64Array:
    if not rules.start_at_prefix:
        return np.ones_like(rows.start)
    draw = uniforms(facts.seed, facts.iteration, facts.sources.ids[rows.source], rows.trial, 0, Purpose.START)
    choices = np.minimum(source_length, rows.limit) - 1
    return 1 + np.asarray(np.floor(draw * choices), dtype=np.int64)


def _explores(rows: _Rows, facts: ShardFacts, rules: Rules) -> BoolArray:
    return np.asarray(_draws(rows, facts, Purpose.POOL) >= rules.exploit_prob)


def _draws(rows: _Rows, facts: ShardFacts, purpose: Purpose, *, first: int = 0) -> Matrix:
    """What was drawn for the item at each position, where the context had `first` items more than stand before it."""
    ids, trial = facts.sources.ids[rows.source][:, None], rows.trial[:, None]
    return uniforms(facts.seed, facts.iteration, ids, trial, first + np.arange(rows.items.shape[1]), purpose)


def _hashes(table: pa.Table) -> tuple[Matrix, Matrix]:
    """Stored and recomputed content hashes."""
    sequences = from_arrow(table)
    stored = np.array([value.as_py() for value in table.column(CONTENT_HASH)], dtype=np.object_)
    computed = content_hashes(sequences.offsets, sequences.items)
    return stored, np.array([value.tobytes() for value in computed], dtype=np.object_)


def _read(table: pa.Table, facts: ShardFacts, rules: Rules) -> _Rows:
    sequences, sources = from_arrow(table), facts.sources
    order = np.argsort(sources.ids, kind="stable")
    source = order[np.searchsorted(sources.ids[order], _integers(table, SOURCE_SEQUENCE_ID))] if len(order) else order
    own = sources.select(source)
    width = max(int(sequences.lengths.max(initial=1)), int(own.lengths.max(initial=1)))
    start = _integers(table, START_LENGTH)
    limit = own.lengths if rules.max_length is None else np.full(len(source), rules.max_length, dtype=np.int64)

    def evidence(name: str) -> Matrix:
        lengths, values = flatten_lists(table.column(name))
        return _padded(lengths, values, width, first=start)

    return _Rows(
        ids=sequences.ids,
        source=source,
        slot=_integers(table, TRIAL),
        trial=_integers(table, TRIAL) // rules.lengths,
        start=start,
        length=sequences.lengths,
        limit=limit,
        stop=np.array(table.column(STOP_REASON).to_pylist(), dtype=np.object_),
        items=_padded(sequences.lengths, sequences.items.astype(np.int64), width),
        own=_padded(own.lengths, own.items.astype(np.int64), width),
        voucher=evidence(VOUCHING_ITEMS),
        better=evidence(BETTER_ITEMS),
        explored=evidence(EXPLORED),
    )


def _padded(lengths: Int64Array, values: Matrix, width: int, *, first: Int64Array | None = None) -> Matrix:
    """Lay rows of values out as a matrix, row i from column `first[i]` on, 0 elsewhere."""
    matrix = np.zeros((len(lengths), width), dtype=values.dtype)
    row = np.repeat(np.arange(len(lengths)), lengths)
    column = np.arange(len(values)) - np.repeat(offsets_of(lengths)[:-1], lengths)
    matrix[row, column if first is None else column + first[row]] = values
    return matrix


def _integers(table: pa.Table, column: str) -> Int64Array:
    return np.asarray(table.column(column).to_numpy().astype(np.int64))
