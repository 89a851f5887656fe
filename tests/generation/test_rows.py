"""Whatever wrote the rows of a shard, every trial is counted once, and novelty as a plain loop counts it."""

from itertools import product

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from rsir_scale.augmenters.written import Written
from rsir_scale.data.sequences import Sequences, offsets_of
from rsir_scale.generation import rows as counted_rows
from rsir_scale.generation.rows import error_rows, shard_counts
from rsir_scale.runs.columns import ERRORS_SCHEMA
from tests.augmenters.rsir.worlds import sequences_of

ITEM_LISTS = st.lists(st.integers(1, 3), min_size=1, max_size=6)
SOURCES = st.lists(st.lists(st.integers(1, 5), max_size=6), min_size=1, max_size=6)
TRIALS = st.integers(1, 3)


@st.composite
def shards(draw: st.DrawFn) -> tuple[Written, Sequences, int]:
    """Sources, empty ones among them, and for some of their trials a row."""
    sources, trials = draw(SOURCES), draw(TRIALS)
    places = [place for place in product(range(len(sources)), range(trials)) if draw(st.booleans())]
    rows = [draw(st.lists(st.integers(1, 6), min_size=2, max_size=6)) for _ in places]
    without = len(sources) * trials - len(places)
    tired = draw(st.integers(0, without))
    written = Written(
        source=np.array([source for source, _ in places], dtype=np.int64),
        trial=np.array([trial for _, trial in places], dtype=np.int64),
        offsets=offsets_of([len(row) for row in rows]),
        items=np.array([item for row in rows for item in row], dtype=np.int32),
        stops={"tired": tired, "bored": without - tired},
        counters={"steps": draw(st.integers(0, 99))},
    )
    return written, sequences_of(sources), trials


def _is_subsequence(items: list[int], source: list[int]) -> bool:
    later = iter(source)
    return all(item in later for item in items)


@given(shard=shards(), failed=st.integers(0, 4))
def test_every_trial_is_a_row_a_counted_stop_or_an_error(shard: tuple[Written, Sequences, int], failed: int) -> None:
    written, sources, trials = shard
    counts = shard_counts(written, sources, trials=trials, failed=failed)
    stops = sum(value for name, value in counts.items() if name.startswith("stop_"))
    assert counts["trials"] == (len(sources) + failed) * trials
    assert counts["errors"] == failed * trials
    assert counts["trials"] == counts["rows_kept"] + stops + counts["errors"]
    assert (counts["rows_kept"], counts["stop_tired"]) == (len(written), written.stops["tired"])
    assert counts["sources"] == len(sources) + failed
    assert counts["steps"] == written.counters["steps"]


@given(shard=shards())
def test_novelty_is_counted_as_a_plain_loop_counts_it(shard: tuple[Written, Sequences, int]) -> None:
    written, sources, trials = shard
    counts = shard_counts(written, sources, trials=trials, failed=0)
    novel = own_only = subsequence = pairs = 0
    for row, source_row in enumerate(written.source):
        items = written.items[written.offsets[row] : written.offsets[row + 1]].tolist()
        source = sources.row(int(source_row)).tolist()
        new = sum(item not in source for item in items)
        novel, own_only, pairs = novel + new, own_only + (new == 0), pairs + len(items) - 1
        subsequence += _is_subsequence(items, source)
    counted = (counts["novel_steps"], counts["own_only_rows"], counts["subsequence_rows"], counts["pairs"])
    assert counted == (novel, own_only, subsequence, pairs)


@example(pairs=[([1, 2], [1, 2, 2])])
@given(pairs=st.lists(st.tuples(ITEM_LISTS, ITEM_LISTS), min_size=1, max_size=8))
def test_a_subsequence_is_one_by_a_plain_search_whatever_comes_after_its_last_item(
    pairs: list[tuple[list[int], list[int]]],
) -> None:
    width = max(len(items) for items, _ in pairs)
    context = np.array([items + [0] * (width - len(items)) for items, _ in pairs], dtype=np.int32)
    longest = max(len(source) for _, source in pairs)
    source = np.array([own + [-1] * (longest - len(own)) for _, own in pairs], dtype=np.int32)
    expected = [_is_subsequence(items, own) for items, own in pairs]
    assert counted_rows._is_subsequence(context, source).tolist() == expected


def test_sources_that_were_set_aside_are_listed_with_their_reasons() -> None:
    table = error_rows(np.array([7, 3]), ["it hangs", "it dies"])
    assert table.schema.equals(ERRORS_SCHEMA)
    assert table.to_pylist() == [
        {"source_sequence_id": 7, "reason": "it hangs"},
        {"source_sequence_id": 3, "reason": "it dies"},
    ]
