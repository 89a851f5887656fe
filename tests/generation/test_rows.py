"""Part rows are the trials that left a sequence, with their evidence; every trial is a row or a counted stop."""

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from rsir_scale.augmenters.rsir.decode import Decoded, decode
from rsir_scale.augmenters.rsir.state import StopReason
from rsir_scale.generation import rows as counted_rows
from rsir_scale.generation.rows import PART_SCHEMA, keeps, part_rows, shard_counts
from rsir_scale.ranking.exact import ExactSearch
from tests.augmenters.rsir.worlds import World, few_examples, worlds

FIRST_ID = 10_000
ITEM_LISTS = st.lists(st.integers(1, 3), min_size=1, max_size=6)


def _decoded(world: World) -> Decoded:
    search = ExactSearch(world.backbone.item_vectors())
    return decode(world.backbone, search, world.sources, world.rules, identity=world.identity)


def _is_subsequence(items: list[int], source: list[int]) -> bool:
    later = iter(source)
    return all(item in later for item in items)


@few_examples
@given(world=worlds())
def test_rows_are_the_kept_trials_under_ids_of_their_own(world: World) -> None:
    decoded = _decoded(world)
    positions = np.arange(len(world.sources))[::-1] * 3
    table = part_rows(decoded, world.sources, positions.copy(), world.rules, first_id=FIRST_ID, iteration=2)
    assert table.schema.equals(PART_SCHEMA)
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
        assert (row["iteration"], row["trial"], row["start_length"]) == (2, trial, start)
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
    assert shard_counts(decoded, world.sources, world.rules, too_short=0, failed=0)["stop_copy"] == copies


@few_examples
@given(world=worlds())
def test_equal_items_have_equal_hashes_and_others_have_others(world: World) -> None:
    decoded, positions = _decoded(world), np.arange(len(world.sources))
    rows = part_rows(decoded, world.sources, positions, world.rules, first_id=0, iteration=0).to_pylist()
    hashes = {tuple(row["items"]): row["content_hash"] for row in rows}
    assert all(row["content_hash"] == hashes[tuple(row["items"])] for row in rows)
    assert len(set(hashes.values())) == len(hashes)


@few_examples
@given(world=worlds())
def test_every_trial_is_a_row_a_counted_stop_or_an_error(world: World) -> None:
    decoded = _decoded(world)
    counts = shard_counts(decoded, world.sources, world.rules, too_short=4, failed=3)
    stops = sum(value for name, value in counts.items() if name.startswith("stop_"))
    assert counts["trials"] == (len(world.sources) + 4 + 3) * world.rules.trials_per_sequence
    assert counts["errors"] == 3 * world.rules.trials_per_sequence
    assert counts["trials"] == counts["rows_kept"] + stops + counts["errors"]
    assert counts["sources"] == len(world.sources) + 4 + 3


@few_examples
@given(world=worlds())
def test_novelty_is_counted_as_a_plain_loop_counts_it(world: World) -> None:
    decoded = _decoded(world)
    counts = shard_counts(decoded, world.sources, world.rules, too_short=0, failed=0)
    novel = own_only = subsequence = pairs = 0
    for row in np.flatnonzero(keeps(decoded, world.sources, world.rules)):
        items = decoded.context[row, : decoded.length[row]].tolist()
        source = world.sources.row(int(decoded.source[row])).tolist()
        new = sum(item not in source for item in items)
        novel, own_only, pairs = novel + new, own_only + (new == 0), pairs + len(items) - 1
        subsequence += _is_subsequence(items, source)
    counted = (counts["novel_steps"], counts["own_only_rows"], counts["subsequence_rows"], counts["pairs"])
    assert counted == (novel, own_only, subsequence, pairs)


@few_examples
@example(pairs=[([1, 2], [1, 2, 2])])
@given(pairs=st.lists(st.tuples(ITEM_LISTS, ITEM_LISTS), min_size=1, max_size=8))
def test_a_subsequence_is_one_by_a_plain_search_whatever_comes_after_its_last_item(
    pairs: list[tuple[list[int], list[int]]],
) -> None:
    width = max(len(items) for items, _ in pairs)
    context = np.array([items + [0] * (width - len(items)) for items, _ in pairs], dtype=np.int32)
    longest = max(len(source) for _, source in pairs)
    source = np.array([own + [-1] * (longest - len(own)) for _, own in pairs], dtype=np.int64)
    expected = [_is_subsequence(items, own) for items, own in pairs]
    assert counted_rows._is_subsequence(context, source).tolist() == expected
