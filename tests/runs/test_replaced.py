"""Rows that stand in place of their sources: D_k, the counts and the owners are those of a plain dictionary."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rsir_scale.runs.commits import commit, write_part
from rsir_scale.runs.content import digest
from rsir_scale.runs.lease import Lease
from rsir_scale.runs.lineage import load, load_slices, read_ids, training_files
from rsir_scale.runs.manifest import Generation, combined_digest, read_chain
from rsir_scale.runs.owners import owners
from rsir_scale.storage.base import Store, sha256_of
from rsir_scale.storage.opening import open_store
from tests.runs.world import TRIALS, USERS, Row, dataset, finish, planned, record_of, run_in, settled, table

Items = tuple[int, ...]
# From a source's id and a trial to the row's items; None: the trial leaves none.
Writes = Callable[[int, int], Items | None]


def _real() -> dict[int, Items]:
    sequences = dataset().training_sequences()
    return {int(each): tuple(sequences.row(row).tolist()) for row, each in enumerate(sequences.ids)}


def _loaded(store: Store, iteration: int) -> dict[int, Items]:
    sequences = load(run_in(store), training_files(run_in(store), iteration))
    found = {int(each): tuple(sequences.row(row).tolist()) for row, each in enumerate(sequences.ids)}
    assert len(found) == len(sequences)
    return found


def _generate(
    store: Store, lease: Lease, iteration: int, writes: Writes, *, sources: str = "all"
) -> tuple[Generation, list[Row]]:
    """Write, settle and finish an iteration whose rows replace their sources; also all rows that were written."""
    plan = planned(store, iteration, sources=sources)
    written: list[Row] = []
    for shard in plan.shards:
        ids = load_slices(run_in(store), plan.files, shard.slices).ids.tolist()
        tried = [(place, each, trial) for place, each in enumerate(ids) for trial in range(TRIALS)]
        rows = [
            (plan.sequence_id(shard, place, trial), each, trial, items)
            for place, each, trial in tried
            if (items := writes(each, trial)) is not None
        ]
        part = write_part(store, iteration=iteration, shard=shard.index, attempt="a", table=table(rows))
        commit(store, record_of(plan, shard, "a", part, len(ids)))
        written += rows
    generation, files = settled(store, plan, replaces_source=True)
    (entry,) = [file for file in files if file.kind == "replaced"]
    assert (entry.sha256, entry.bytes) == sha256_of(store, entry.key)
    assert generation.replaced == len(read_ids(store, entry.key)) == entry.rows
    finish(store, lease, iteration, generation=generation, files=files)
    return generation, written


def _kept(rows: Sequence[Row]) -> list[Row]:
    first: dict[Items, Row] = {}
    for row in sorted(rows, key=lambda row: row[1:3]):
        first.setdefault(row[3], row)
    return list(first.values())


def _few_contents(seed: int, iteration: int) -> Writes:
    """Nothing, or one of a few contents, for each trial: so that many rows are duplicates."""

    def writes(source: int, trial: int) -> Items | None:
        draws = np.random.default_rng([seed, iteration, source, trial])
        items = tuple(draws.integers(1, 5, draws.integers(2, 4)).tolist())
        return items if draws.random() < 0.7 else None

    return writes


@settings(max_examples=5)
@given(seed=st.integers(0, 2**32 - 1), sources=st.sampled_from(["all", "real"]))
def test_d_k_is_a_plain_dictionary_in_which_kept_rows_took_the_place_of_their_sources(
    tmp_path_factory: pytest.TempPathFactory, seed: int, sources: str
) -> None:
    store = open_store(tmp_path_factory.mktemp("run"))
    expected, user_of = _real(), {user: user for user in range(USERS)}
    with Lease(store) as lease:
        for iteration in range(2):
            offered = [each for each in expected if sources == "all" or each < USERS]
            writes = _few_contents(seed, iteration)
            generation, written = _generate(store, lease, iteration, writes, sources=sources)
            kept = _kept(written)
            gone = {row[1] for row in kept}
            assert (generation.sources, generation.rows, generation.replaced) == (len(offered), len(kept), len(gone))
            assert generation.replaced_pairs == sum(max(len(expected[each]) - 1, 0) for each in gone)
            expected = {each: items for each, items in expected.items() if each not in gone}
            expected |= {row[0]: row[3] for row in kept}
            user_of |= {row[0]: user_of[row[1]] for row in kept}
            assert _loaded(store, iteration + 1) == expected
    ids = np.array(sorted(expected), dtype=np.int64)
    assert owners(run_in(store), 2).of(ids).tolist() == [user_of[each] for each in ids.tolist()]
    assert digest(run_in(store)) == combined_digest(read_chain(store))


def test_a_row_that_was_written_is_replaced_in_its_turn(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with Lease(store) as lease:
        _generate(store, lease, 0, lambda each, trial: (50, 51) if (each, trial) == (4, 0) else None)
        ((row, _),) = [(each, items) for each, items in _loaded(store, 1).items() if each >= USERS]
        second, _ = _generate(store, lease, 1, lambda each, trial: (50, 51, 52) if (each, trial) == (row, 0) else None)
    found = _loaded(store, 2)
    assert (second.sources, second.replaced, second.replaced_pairs) == (USERS, 1, 1)
    assert [items for each, items in found.items() if each >= USERS] == [(50, 51, 52)]
    assert set(_real()) - set(found) == {4}


def test_a_source_whose_rows_were_all_dropped_stays(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with Lease(store) as lease:
        generation, written = _generate(store, lease, 0, lambda each, _: (50, 51) if each in (4, 9) else None)
    assert (len(written), generation.rows, generation.replaced) == (4, 1, 1)
    assert set(_real()) - set(_loaded(store, 1)) == {4}


def test_a_user_who_was_replaced_is_no_real_source_any_more(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with Lease(store) as lease:
        _generate(store, lease, 0, lambda each, trial: (each + 1, 50 + trial), sources="real")
        generation, written = _generate(store, lease, 1, lambda each, trial: (1, 2), sources="real")
    assert (generation.sources, generation.replaced, written) == (0, 0, [])
    assert len(_loaded(store, 2)) == USERS * TRIALS
