"""Rows are the trials that left a sequence, with their evidence; every trial is a row or a counted stop."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
from hypothesis import given

from rsir_scale.augmenters.part import part_table
from rsir_scale.augmenters.rsir.decode import Decoded, decode
from rsir_scale.augmenters.rsir.rows import EVIDENCE, keeps, written_rows
from rsir_scale.augmenters.rsir.state import StopReason
from rsir_scale.augmenters.written import Written, check_written
from rsir_scale.data.sequences import Int64Array
from rsir_scale.ranking.exact import ExactSearch
from rsir_scale.runs.columns import with_evidence
from tests.augmenters.rsir.worlds import PAPER, World, few_examples, sasrec, sequences_of, worlds

FIRST_ID = 10_000


def _decoded(world: World) -> Decoded:
    search = ExactSearch(world.backbone.item_vectors())
    return decode(world.backbone, search, world.sources, world.rules, identity=world.identity)


def _written(world: World, decoded: Decoded) -> Written:
    return written_rows(decoded, world.sources, world.rules, search="exact/test")


def _table(world: World, decoded: Decoded, positions: Int64Array) -> pa.Table:
    return part_table(
        _written(world, decoded),
        world.sources,
        positions,
        first_id=FIRST_ID,
        iteration=2,
        trials=world.rules.trials_per_sequence,
        evidence=EVIDENCE,
    )


@few_examples
@given(world=worlds())
def test_rows_are_the_kept_trials_under_ids_of_their_own(world: World) -> None:
    decoded = _decoded(world)
    positions = np.arange(len(world.sources))[::-1] * 3
    table = _table(world, decoded, positions.copy())
    assert table.schema.equals(with_evidence(EVIDENCE))
    rows = table.to_pylist()
    assert len(rows) == keeps(decoded, world.sources, world.rules).sum()
    for row, place in zip(rows, np.flatnonzero(keeps(decoded, world.sources, world.rules)), strict=True):
        start, length, source = (
            int(column[place]) for column in (decoded.start_length, decoded.length, decoded.source)
        )
        trial = int(decoded.trial[place])
        assert row["sequence_id"] == FIRST_ID + positions[source] * world.rules.trials_per_sequence + trial
        assert row["items"] == decoded.context[place, :length].tolist()
        assert row["source_sequence_id"] == world.sources.ids[source]
        assert (row["iteration"], row["trial"], row["start_length"], row["first_target"]) == (2, trial, start, 1)
        assert row["stop_reason"] == StopReason(decoded.stop[place]).name.lower()
        assert row["better_items"] == decoded.better[place, start:length].tolist()
        assert row["vouching_items"] == decoded.voucher[place, start:length].tolist()
        assert row["explored"] == decoded.explored[place, start:length].tolist()


@few_examples
@given(world=worlds())
def test_a_trial_that_puts_its_whole_source_down_again_leaves_no_row(world: World) -> None:
    decoded = _decoded(world)
    kept = keeps(decoded, world.sources, world.rules)
    copies = 0
    for row, source in enumerate(decoded.source):
        items = decoded.context[row, : decoded.length[row]].tolist()
        grown = len(items) >= world.rules.min_length and len(items) > decoded.start_length[row]
        copy = items == world.sources.row(int(source)).tolist()
        copies += grown and copy
        assert kept[row] == (grown and not copy)
    assert _written(world, decoded).stops["copy"] == copies


@few_examples
@given(world=worlds())
def test_with_prefixes_each_step_that_passed_leaves_a_row_unless_it_is_the_source_again(world: World) -> None:
    most = max(int(world.sources.lengths.max(initial=2)), world.rules.max_length or 0)
    world = replace(world, rules=replace(world.rules, lengths=most - 1))
    decoded = _decoded(world)
    written = _written(world, decoded)
    expected = {}
    for row, source in enumerate(decoded.source):
        context = decoded.context[row, : decoded.length[row]].tolist()
        for length in range(max(int(decoded.start_length[row]) + 1, world.rules.min_length), len(context) + 1):
            if context[:length] != world.sources.row(int(source)).tolist():
                slot = int(decoded.trial[row]) * world.rules.lengths + length - 2
                expected[int(source), slot] = (context[:length], length < len(context))
    rows = zip(written.source.tolist(), written.trial.tolist(), strict=True)
    items = np.split(written.items, written.offsets[1:-1]) if len(written) else []
    is_prefix = [reason == "prefix" for reason in written.evidence["stop_reason"].to_pylist()]
    found = {key: (each.tolist(), went_on) for key, each, went_on in zip(rows, items, is_prefix, strict=True)}
    assert found == expected
    slots = len(world.sources) * world.rules.trials_per_sequence * world.rules.lengths
    assert len(written) + sum(written.stops.values()) == slots
    assert min(written.stops.values()) >= 0


def test_a_prefix_that_is_the_whole_source_leaves_no_row_though_its_trial_went_on() -> None:
    rules = replace(PAPER, start_vouches=True, max_length=4, exploit_prob=0.5, trials_per_sequence=40, lengths=3)
    rules = replace(rules, rank_threshold=None, temperature=100.0)
    world = World(sasrec(6, seed=1), sequences_of([[1, 2]]), rules, (1, 0))
    decoded = _decoded(world)
    went_on = (decoded.length > 2) & (decoded.context[:, 1] == 2)
    written = _written(world, decoded)
    assert went_on.any()
    assert [1, 2] not in [each.tolist() for each in np.split(written.items, written.offsets[1:-1])]
    assert written.stops["copy"] == (decoded.context[:, 1] == 2).sum()


def test_the_steps_of_a_trial_that_ends_as_its_source_leave_rows_of_their_own() -> None:
    rules = replace(PAPER, start_at_prefix=False, exploit_prob=1.0, rank_threshold=None, temperature=100.0, lengths=2)
    world = World(sasrec(6, seed=1), sequences_of([[1, 2, 3]]), replace(rules, trials_per_sequence=20), (1, 0))
    decoded = _decoded(world)
    written = _written(world, decoded)
    assert written.stops["copy"] == (decoded.context[:, :3] == [1, 2, 3]).all(1).sum() > 0
    assert len(written) == 2 * 20 - written.stops["copy"]


@few_examples
@given(world=worlds())
def test_equal_items_have_equal_hashes_and_others_have_others(world: World) -> None:
    rows = _table(world, _decoded(world), np.arange(len(world.sources))).to_pylist()
    hashes = {tuple(row["items"]): row["content_hash"] for row in rows}
    assert all(row["content_hash"] == hashes[tuple(row["items"])] for row in rows)
    assert len(set(hashes.values())) == len(hashes)


@few_examples
@given(world=worlds())
def test_every_trial_is_a_row_or_a_stop_and_the_rows_keep_the_contract(world: World) -> None:
    decoded = _decoded(world)
    written = _written(world, decoded)
    assert len(written) + sum(written.stops.values()) == len(world.sources) * world.rules.trials_per_sequence
    assert (written.counters, written.encoder) == (decoded.tally.as_counts(), decoded.encoder)
    assert written.search == "exact/test"
    check_written(
        written,
        world.sources,
        trials=world.rules.trials_per_sequence,
        item_count=world.backbone.item_count,
        known_V=None,
        evidence=EVIDENCE,
    )
