"""Closing an iteration: counts meet, and the digest knows neither attempts nor order."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rsir_scale.errors import IntegrityError, ResumableError
from rsir_scale.runs import layout
from rsir_scale.runs.commits import write_part
from rsir_scale.runs.content import content_of, digest
from rsir_scale.runs.lease import Lease
from rsir_scale.runs.lineage import SequenceFile, load_slices
from rsir_scale.runs.manifest import combined_digest, read_chain
from rsir_scale.runs.settle import mixture_facts
from rsir_scale.storage.base import sha256_of
from rsir_scale.storage.opening import open_store
from tests.runs.world import ZERO, commit_shards, finish, generate, planned, rows_of, run_in, settled, table


def _digest(folder: Path, order: list[int], attempts: list[str]) -> str | None:
    store = open_store(folder)
    with Lease(store) as lease:
        plan = planned(store)
        for number, attempt in zip(order, attempts, strict=True):
            commit_shards(store, plan, attempt, [plan.shards[number]])
        generation, files = settled(store, plan, attempt=attempts[0])
        finish(store, lease, 0, generation=generation, files=files)
    return digest(run_in(store))


@settings(max_examples=10)
@given(order=st.permutations(range(5)), names=st.lists(st.uuids(), min_size=5, max_size=5, unique=True))
def test_digest_is_independent_of_attempt_names_and_commit_order(
    tmp_path_factory: pytest.TempPathFactory, order: list[int], names: list[object]
) -> None:
    plain = _digest(tmp_path_factory.mktemp("plain"), list(range(5)), ["a", "b", "c", "d", "e"])
    assert plain is not None
    assert _digest(tmp_path_factory.mktemp("other"), order, [str(name) for name in names]) == plain


def test_digest_sees_one_changed_item(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with Lease(store) as lease:
        generate(store, lease)
    assert digest(run_in(store)) == combined_digest(read_chain(store))
    plan = planned(store)
    rows = rows_of(plan, plan.shards[0])
    rows[0] = (*rows[0][:3], (60, *rows[0][3][1:]))
    changed = write_part(store, iteration=0, shard=0, attempt="changed", table=table(rows))
    store.put(layout.part(0, 0, "a"), store.read(changed.key))
    with pytest.raises(IntegrityError, match="its manifest says"):
        digest(run_in(store))


def test_content_does_not_know_where_parts_are_cut(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    rows = [(number, 0, number, (number, number + 1)) for number in range(1, 9)]

    def files(*cuts: list[tuple[int, int, int, tuple[int, ...]]]) -> list[SequenceFile]:
        parts = [
            write_part(store, iteration=0, shard=i, attempt=layout.new_attempt(), table=table(cut))
            for i, cut in enumerate(cuts)
        ]
        return [SequenceFile(where="run", key=part.key, rows=part.rows or 0, sha256=ZERO) for part in parts]

    whole = content_of(run_in(store), files(rows))
    assert (whole.rows, whole.pairs) == (8, 8)
    assert content_of(run_in(store), files(rows[:3], [], rows[3:])) == whole
    assert content_of(run_in(store), files(rows[:3], rows[:2:-1])) == whole
    with pytest.raises(IntegrityError, match="twice or out of its shard's range"):
        content_of(run_in(store), files(rows[4:], rows[:4]))
    with pytest.raises(IntegrityError, match="twice"):
        content_of(run_in(store), files(rows + rows[:1]))


def test_summary_names_and_hashes_every_file(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    plan = planned(store)
    commit_shards(store, plan, "a", plan.shards)
    generation, files = settled(store, plan, against_existing=True)
    assert {file.kind for file in files} == {"plan", "commit", "part", "dropped"}
    for file in files:
        assert sha256_of(store, file.key) == (file.sha256, file.bytes)
    assert sorted(file.key for file in files) == sorted(store.list(""))
    written = sum(len(rows_of(plan, shard)) for shard in plan.shards)
    assert generation.rows + generation.dropped == written == generation.counters["rows_kept"]
    assert generation.sources == plan.rows


def test_parts_that_were_not_computed_alike_are_named_and_the_digest_is_that_of_parts_that_were(
    tmp_path: Path,
) -> None:
    both = []
    for folder, last in ((tmp_path / "alike", "xeon, avx2"), (tmp_path / "mixed", "epyc, avx2")):
        store = open_store(folder)
        plan = planned(store)
        commit_shards(store, plan, "a", plan.shards[:-1], encoder="anew", search="exact", processor="xeon, avx2")
        commit_shards(store, plan, "a", plan.shards[-1:], encoder="anew", search="exact", processor=last)
        both.append(settled(store, plan)[0])
    alike, mixed = both
    assert (alike.processors, mixed.processors) == (("xeon, avx2",), ("epyc, avx2", "xeon, avx2"))
    assert alike.content_sha256 == mixed.content_sha256
    assert mixture_facts(alike) == []
    assert mixture_facts(mixed) == ["its parts come from 2 processors: epyc, avx2; xeon, avx2"]
    other = {"encoders": ("anew", "tree/avx2"), "searches": ("", "exact/avx2", "exact/torch")}
    assert mixture_facts(alike.model_copy(update=other)) == [
        "its parts come from 2 encoders: anew; tree/avx2",
        "its parts come from 3 searches: one not recorded; exact/avx2; exact/torch",
    ]


def test_generation_is_not_closed_before_its_last_shard(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    plan = planned(store)
    commit_shards(store, plan, "a", plan.shards[1:])
    with pytest.raises(ResumableError, match="1 of 5 shards"):
        settled(store, plan)


def test_sources_that_had_no_trials_are_noticed(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    plan = planned(store)
    commit_shards(store, plan, "a", plan.shards, sources={0: 4, 1: 5, 2: 5, 3: 5, 4: 3})
    with pytest.raises(IntegrityError, match="the commits count 44"):
        settled(store, plan)


def test_a_record_that_counts_a_stop_more_is_noticed_though_trials_and_rows_agree(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    plan = planned(store)
    commit_shards(store, plan, "a", plan.shards)
    record = json.loads(store.read(layout.commit(0, 2)))
    record["counts"]["stop_copy"] = record["counts"].get("stop_copy", 0) + 1
    store.put(layout.commit(0, 2), json.dumps(record).encode())
    with pytest.raises(IntegrityError, match=r"shard 2: .* trials went in"):
        settled(store, plan)


def test_swapped_part_is_noticed(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    plan = planned(store)
    commit_shards(store, plan, "a", plan.shards)
    shorter = write_part(store, iteration=0, shard=0, attempt="x", table=table(rows_of(plan, plan.shards[0])[:-1]))
    store.put(layout.part(0, 0, "a"), store.read(shorter.key))
    with pytest.raises(IntegrityError, match=r"part-00000\.a"):
        settled(store, plan)


@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: b""])
def test_a_part_that_lost_its_end_is_named(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    store = open_store(tmp_path)
    plan = planned(store)
    commit_shards(store, plan, "a", plan.shards)
    store.put(layout.part(0, 3, "a"), damage(store.read(layout.part(0, 3, "a"))))
    with pytest.raises(IntegrityError, match=r"part-00003\.a\.parquet has SHA-256"):
        settled(store, plan, against_existing=True)
    store.delete(layout.part(0, 3, "a"))
    with pytest.raises(IntegrityError, match=r"part-00003\.a\.parquet is missing"):
        settled(store, plan, against_existing=True)


def test_second_iteration_counts_kept_sources_only(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with Lease(store) as lease:
        first = generate(store, lease).generation
        assert first is not None
        plan = planned(store, 1)
        kept = dict.fromkeys(range(len(plan.shards)), 0)
        for shard in plan.shards:
            kept[shard.index] = len(load_slices(run_in(store), plan.files, shard.slices))
        commit_shards(store, plan, "b", plan.shards, sources=kept)
        generation, files = settled(store, plan)
        finish(store, lease, 1, generation=generation, files=files)
    assert generation.sources == 23 + first.rows < plan.rows
    assert digest(run_in(store)) == combined_digest(read_chain(store))
