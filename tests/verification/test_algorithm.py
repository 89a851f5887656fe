"""Algorithm 1 to the letter, and the coin in place of the check: what is written, and what verification holds it to."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rsir_scale.augmenters.opening import augmenter_of
from rsir_scale.augmenters.part import Part
from rsir_scale.augmenters.rsir.rows import PREFIX, STOP_REASON
from rsir_scale.augmenters.rsir.searching import acceptance
from rsir_scale.data.schema import ITEMS
from rsir_scale.runs.columns import SOURCE_SEQUENCE_ID, TRIAL
from rsir_scale.runs.lineage import load_slices
from rsir_scale.runs.manifest import read_chain
from rsir_scale.runs.plan import read_plan
from rsir_scale.verification.verify import verify
from tests.loop.tiny_run import TinyRun, tiny_run


def rows_of(run: TinyRun, iteration: int = 0) -> list[dict[str, object]]:
    files = [entry for entry in read_chain(run.store)[iteration].files if entry.kind == "part"]
    return [row for entry in files for row in pq.read_table(run.store.open_read(entry.key)).to_pylist()]


def first_part(run: TinyRun) -> Part:
    plan = read_plan(run.store, 0)
    shard = plan.shards[0]
    entry = next(entry for entry in read_chain(run.store)[0].files if entry.kind == "part")
    table = pq.read_table(run.store.open_read(entry.key))
    sources = load_slices(run, plan.files, shard.slices)
    everyone = np.ones(table.num_rows, dtype=np.bool_)
    return Part(table, sources, plan.sequence_id(shard, 0, 0), np.empty(0, dtype=np.int64), everyone)


@pytest.mark.parametrize(
    "run",
    [
        pytest.param({"keep": "prefixes"}, id="every prefix"),
        pytest.param({"start_vouches": True}, id="the start vouches", marks=pytest.mark.slow),
        pytest.param({"mode": "random"}, id="a coin"),
        pytest.param(
            {"mode": "random", "reading": "released", "remaining": "after_choice"},
            id="a coin, released",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_good_run_passes(run: dict[str, object]) -> None:
    found = tiny_run(**run)  # type: ignore[arg-type]
    report = verify(found)
    assert report.faults == ()
    assert report.rows == report.rows_rechecked > 0


def test_every_prefix_of_a_trial_is_a_row_and_its_end_is_the_row_that_else_is_kept() -> None:
    ends = {(row[SOURCE_SEQUENCE_ID], row[TRIAL]): row[ITEMS] for row in rows_of(tiny_run())}
    every = tiny_run(keep="prefixes")
    lengths = augmenter_of(every, 0).trials // 2
    trials: dict[tuple[object, int], list[list[int]]] = {}
    for row in rows_of(every):
        trial, place = divmod(row[TRIAL], lengths)  # type: ignore[call-overload]
        assert len(row[ITEMS]) == place + 2  # type: ignore[arg-type]
        trials.setdefault((row[SOURCE_SEQUENCE_ID], trial), []).append(row[ITEMS])  # type: ignore[arg-type]
    longest_of = {key: max(rows, key=len) for key, rows in trials.items()}
    # A trial that ended as its source leaves what came before, and no row where its end alone is kept.
    assert longest_of | ends == longest_of
    for rows in trials.values():
        longest = max(rows, key=len)
        assert all(row == longest[: len(row)] for row in rows)
        assert len({len(row) for row in rows}) == len(rows)
    assert any(row[STOP_REASON] == PREFIX for row in rows_of(every))


def test_the_coin_accepts_about_as_often_as_the_check_did_on_the_sample() -> None:
    run = tiny_run(mode="random")
    rate = acceptance(run, 0)
    assert rate is not None
    assert 0 < rate < 1
    written = read_chain(run.store)[0]
    assert written.generation is not None
    counters = written.generation.counters
    # Four standard deviations of as many tosses.
    assert abs(counters["accepted_steps"] / counters["steps"] - rate) < 2 / np.sqrt(counters["steps"])
    assert any(fact.startswith("fidelity is random: a coin passes") for fact in written.facts)


def test_a_row_that_was_accepted_against_its_coin_is_a_fault() -> None:
    run = tiny_run(mode="random")
    augmenter = augmenter_of(run, 0)
    augmenter.open()
    part = first_part(run)
    assert augmenter.recheck(part).faults == ()
    augmenter._rules = replace(augmenter._rules, acceptance=0.0)  # type: ignore[attr-defined]
    said = {fault.what for fault in augmenter.recheck(part).faults}
    assert said == {"an item was accepted against its coin"}


def test_a_prefix_under_another_length_is_a_fault() -> None:
    run = tiny_run(keep="prefixes")
    augmenter = augmenter_of(run, 0)
    augmenter.open()
    part = first_part(run)
    trial = part.table.column(TRIAL).to_numpy().copy()
    trial[0] += 1
    place = part.table.schema.get_field_index(TRIAL)
    table = part.table.set_column(place, part.table.schema.field(place), pa.array(trial))
    faults = augmenter.recheck(replace(part, table=table)).faults
    assert [fault.row for fault in faults] == [part.table.column(0)[0].as_py()]
