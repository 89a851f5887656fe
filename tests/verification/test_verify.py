"""Verification passes a good run, names the file of a changed byte and the row of a changed item."""

import json
import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rsir_scale.augmenters.opening import augmenter_of
from rsir_scale.config.file import resolve
from rsir_scale.config.settings import EvaluationConfig
from rsir_scale.data.sequences import offsets_of
from rsir_scale.errors import InputError, IntegrityError
from rsir_scale.evaluation import metrics
from rsir_scale.loop.local import LocalPhases
from rsir_scale.loop.recursion import run_recursion
from rsir_scale.randomness import content_hashes
from rsir_scale.runs import layout
from rsir_scale.runs.begun import stored_run
from rsir_scale.runs.commits import CommitRecord
from rsir_scale.runs.content import content_of
from rsir_scale.runs.dedupe import duplicate_ids, write_ids
from rsir_scale.runs.evaluated import Evaluation, read_ranks
from rsir_scale.runs.lineage import committed_files, part_files, read_ids
from rsir_scale.runs.manifest import Generation, GenerationLink, Link, ModelLink, read_chain
from rsir_scale.runs.open_run import open_run
from rsir_scale.runs.plan import read_plan
from rsir_scale.runs.records import FileEntry, Record, entry_of
from rsir_scale.runs.selection import SELECTION_METRIC
from rsir_scale.steps import Step
from rsir_scale.storage.opening import open_store
from rsir_scale.verification.faults import Ledger
from rsir_scale.verification.rows import verify_rows
from rsir_scale.verification.verify import VerifyReport, verify
from tests.loop.tiny_run import TinyRun, tiny_run

VARIANTS = (("paper", "before_choice"), ("paper", "after_choice"), ("released", "after_choice"))
# What the default run tries of the clustered ones: either semantics, either reading.
FAST = {("paper", "before_choice", "count"), ("released", "after_choice", "membership")}


def _checked(run: TinyRun) -> VerifyReport:
    return verify(stored_run(run.store))


def _parts(run: TinyRun, iteration: int) -> list[FileEntry]:
    return [entry for entry in read_chain(run.store)[iteration].files if entry.kind == "part"]


@pytest.mark.parametrize(("reading", "remaining"), VARIANTS)
def test_a_good_run_passes_and_every_row_is_scored_again(reading: str, remaining: str) -> None:
    run = tiny_run(reading=reading, remaining=remaining)
    report = _checked(run)
    rows = sum(entry.rows or 0 for iteration in (0, 1) for entry in _parts(run, iteration))
    assert (report.ok, report.faults, report.fault_count) == (True, (), 0)
    assert (report.rows, report.rows_rechecked) == (rows, rows)
    assert report.files == len(run.dataset.meta.files) + sum(
        1 + (m.written is not None) + len(m.files) for m in read_chain(run.store)
    )


@pytest.mark.parametrize(
    ("reading", "remaining", "semantics"),
    [
        pytest.param(*variant, semantics, marks=() if (*variant, semantics) in FAST else pytest.mark.slow)
        for variant in VARIANTS
        for semantics in ("count", "membership")
    ],
)
def test_a_clustered_run_passes_as_what_it_is_and_not_as_exact(
    reading: str, remaining: str, semantics: str, tmp_path: Path
) -> None:
    run = tiny_run(reading=reading, remaining=remaining, mode="clustered", semantics=semantics)
    report = _checked(run)
    assert (report.ok, report.faults) == (True, ())
    assert report.rows_rechecked == sum(entry.rows or 0 for iteration in (0, 1) for entry in _parts(run, iteration))
    kinds = [entry.kind for manifest in read_chain(run.store)[:2] for entry in manifest.files]
    assert kinds.count("search") == kinds.count("clusters") == 2
    # The same rows, held to the whole catalogue, are not what the exact check would have let in.
    other = run.copy_to(tmp_path / "run")
    raw = run.config.model_dump()
    raw["fidelity"]["mode"] = "exact"
    exact, ledger = replace(other, config=resolve(raw)), Ledger()
    manifest, plan = read_chain(other.store)[0], read_plan(other.store, 0)
    verify_rows(augmenter_of(exact, 0), manifest, plan, ledger, limit=None, tell=print)
    assert any(fault.row is not None for fault in ledger.sorted_faults())


def test_a_changed_byte_of_the_clusters_names_their_file(tmp_path: Path) -> None:
    run = tiny_run(mode="clustered").copy_to(tmp_path / "run")
    entry = next(e for e in read_chain(run.store)[0].files if e.kind == "clusters")
    _flip(run.path / entry.key, -1)
    report = verify(run)
    assert not report.ok
    assert entry.key in {fault.file for fault in report.faults}


def test_the_report_is_json_with_the_keys_of_the_design() -> None:
    printed = json.loads(json.dumps(_checked(tiny_run()).to_json()))
    assert printed.keys() >= {"ok", "files", "rows", "rows_rechecked", "other_rows", "faults"}
    assert printed["faults"] == []


@pytest.mark.parametrize("limit", [1, 7, 10_000])
def test_a_limit_scores_fewer_rows_of_each_iteration(limit: int) -> None:
    run = tiny_run()
    report = verify(run, rows_per_iteration=limit)
    totals = [sum(entry.rows or 0 for entry in _parts(run, iteration)) for iteration in (0, 1)]
    assert report.ok
    assert 1 <= report.rows_rechecked <= sum(min(limit, total) for total in totals)
    assert limit < 10_000 or report.rows_rechecked == sum(totals)
    assert (report.other_rows is None) == (limit == 10_000)


def test_each_part_is_told_before_it_is_checked() -> None:
    run = tiny_run()
    told: list[Step] = []
    verify(run, rows_per_iteration=1, tell=told.append)
    for iteration in (0, 1):
        parts = len(read_plan(run.store, iteration).shards)
        steps = [step for step in told if step.what == f"iteration {iteration}  verifying"]
        assert [(step.done, step.total) for step in steps] == [(part, parts) for part in range(1, parts + 1)]


def _flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(bytes(data))


def test_one_changed_byte_of_any_listed_file_names_that_file_alone(tmp_path: Path) -> None:
    run = tiny_run().copy_to(tmp_path / "run")
    entries = [entry for manifest in read_chain(run.store) for entry in manifest.files]
    # One of each kind from each iteration; the last of its kind, so that the order of shards cannot hide a fault.
    chosen = {(entry.kind, entry.key.split("/")[0]): entry for entry in entries}
    kinds = {"part", "commit", "dropped", "plan", "weights", "model", "metrics", "ranks"}
    assert {entry.kind for entry in chosen.values()} == kinds
    for number, entry in enumerate(chosen.values()):
        path = run.path / entry.key
        good = path.read_bytes()
        _flip(path, (0, len(good) // 2, len(good) - 1)[number % 3])
        report = verify(run, rows_per_iteration=5)
        assert not report.ok
        assert {fault.file for fault in report.faults} == {entry.key}
        path.write_bytes(good)
    assert _checked(run).ok


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    run = tiny_run().copy_to(tmp_path / "run")
    for entry in (_parts(run, 0)[0], read_chain(run.store)[0].files[0], read_chain(run.store)[1].files[0]):
        path = run.path / entry.key
        good = path.read_bytes()
        path.unlink()
        assert {fault.file for fault in _checked(run).faults} == {entry.key}
        path.write_bytes(good)


def test_a_changed_file_of_the_dataset_is_named(tmp_path: Path) -> None:
    run = tiny_run()
    folder = tmp_path / "market"
    for file in Path(run.dataset.path).rglob("*.*"):
        target = folder / file.relative_to(run.dataset.path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.read_bytes())
    damaged = replace(run.dataset, store=open_store(folder))
    assert verify(replace(run, dataset=damaged)).ok
    for entry in damaged.meta.files:
        file = folder / entry.path
        good = file.read_bytes()
        _flip(file, len(good) // 2)
        assert {fault.file for fault in verify(replace(run, dataset=damaged)).faults} == {str(file)}
        file.write_bytes(good)


def _mend(run: TinyRun, iteration: int, key: str, data: bytes) -> None:
    """Replace a part and every hash of it up to the link of its generation."""
    (run.path / key).write_bytes(data)
    path = run.path / layout.generation_link(iteration)
    link = GenerationLink.from_bytes(path.read_bytes(), "link")
    files = {entry.key: entry for entry in link.files}
    files[key] = entry_of(run.store, key, "part").model_copy(update={"rows": files[key].rows})
    for entry in link.files:
        if entry.kind == "commit":
            record = CommitRecord.from_bytes(run.store.read(entry.key), "commit")
            if record.part.key == key:
                (run.path / entry.key).write_bytes(record.model_copy(update={"part": files[key]}).to_bytes())
                files[entry.key] = entry_of(run.store, entry.key, "commit")
    path.write_bytes(link.model_copy(update={"files": tuple(files.values())}).to_bytes())


def _with_item_changed(table: pa.Table, place: int, *, hashes_too: bool) -> tuple[bytes, int]:
    rows = table.to_pylist()
    row = rows[place]
    others = [item for item in range(1, 31) if item not in row["items"]]
    row["items"] = [*row["items"][:-1], others[(row["sequence_id"] * 7) % len(others)]]
    if hashes_too:
        items = np.array(row["items"], dtype=np.int32)
        row["content_hash"] = content_hashes(offsets_of([len(items)]), items)[0].tobytes()
    buffer = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), buffer)
    return buffer.getvalue().to_pybytes(), row["sequence_id"]


@pytest.mark.parametrize(("reading", "remaining"), VARIANTS)
@pytest.mark.parametrize("iteration", [0, 1])
def test_one_changed_item_with_the_files_hash_mended_names_the_row(
    tmp_path: Path, reading: str, remaining: str, iteration: int
) -> None:
    run = tiny_run(reading=reading, remaining=remaining).copy_to(tmp_path / "run")
    part = _parts(run, iteration)[1]
    data, row = _with_item_changed(pq.read_table(run.path / part.key), 3, hashes_too=False)
    _mend(run, iteration, part.key, data)
    report = _checked(run)
    assert (part.key, row, "content_hash is not that of the items") in {
        (fault.file, fault.row, fault.what) for fault in report.faults
    }
    assert {fault.row for fault in report.faults if fault.file == part.key} == {row}


@pytest.mark.parametrize(("reading", "remaining"), VARIANTS)
def test_a_changed_row_that_is_mended_throughout_still_breaks_the_digest(
    tmp_path: Path, reading: str, remaining: str
) -> None:
    run = tiny_run(reading=reading, remaining=remaining).copy_to(tmp_path / "run")
    part = _parts(run, 1)[0]
    table = pq.read_table(run.path / part.key)
    # The content is that of kept rows: a settled duplicate is not in it.
    (dropped,) = committed_files(run.store, 1)[0].without
    kept = ~np.isin(table.column("sequence_id").to_numpy(), read_ids(run.store, dropped.key))
    data, _ = _with_item_changed(table, int(np.flatnonzero(kept)[0]), hashes_too=True)
    _mend(run, 1, part.key, data)
    assert any("content" in fault.what and "MANIFEST" in fault.file for fault in _checked(run).faults)


def _changed(run: TinyRun, key: str, **fields: object) -> VerifyReport:
    """Change fields of a link, and verify."""
    (run.path / key).write_bytes(_link(run, key).model_copy(update=fields).to_bytes())
    return _checked(run)


def _link(run: TinyRun, key: str) -> Link:
    kind = GenerationLink if "generation" in key else ModelLink
    return kind.from_bytes((run.path / key).read_bytes(), key)


def _generation(run: TinyRun, iteration: int) -> Generation:
    written = read_chain(run.store)[iteration].generation
    assert written is not None
    return written


def test_the_chain_shows_a_changed_link_in_the_next_one(tmp_path: Path) -> None:
    links = (layout.model_link(0), layout.generation_link(0), layout.model_link(1), layout.generation_link(1))
    for changed, child in pairwise(links):
        run = tiny_run().copy_to(tmp_path / child)
        report = _changed(run, changed, timings={"train_s": 0.0})
        assert [(fault.file, "parent" in fault.what) for fault in report.faults] == [(child, True)]


def test_metrics_and_counters_that_were_not_measured_are_named(tmp_path: Path) -> None:
    run, key = tiny_run().copy_to(tmp_path / "run"), layout.model_link(2)
    report = _changed(run, key, metrics=read_chain(run.store)[2].metrics | {"test/NDCG@10": 0.99})
    assert [fault.file for fault in report.faults] == [key]

    run, key = tiny_run().copy_to(tmp_path / "again"), layout.generation_link(1)
    written = _generation(run, 1)
    lied = written.model_copy(update={"counters": written.counters | {"heldout_test_hits": 10**6}})
    said = [(fault.file, fault.what) for fault in _changed(run, key, generation=lied).faults]
    assert any(file == key and "heldout_test_hits" in what for file, what in said)


def _with_record(
    run: TinyRun, link: str, key: str, record: Record, *, counters: dict[str, int] | None = None
) -> VerifyReport:
    """Put another record under a key, mend all that a link says of it, and verify."""
    files = _link(run, link).files
    kind = next(entry.kind for entry in files if entry.key == key)
    (run.path / key).write_bytes(record.to_bytes())
    own = entry_of(run.store, key, kind)
    mended: dict[str, object] = {"files": tuple(own if entry.key == key else entry for entry in files)}
    if isinstance(record, Evaluation):
        return _changed(run, link, metrics=record.metrics, **mended)
    written = _generation(run, 1)
    told = {"counters": counters or written.counters} | ({"plan_sha256": own.sha256} if kind == "plan" else {})
    return _changed(run, link, generation=written.model_copy(update=told), **mended)


def test_metrics_that_are_not_the_means_of_the_ranks_are_named_though_all_hashes_fit(tmp_path: Path) -> None:
    run, key = tiny_run().copy_to(tmp_path / "run"), layout.metrics(2)
    told = Evaluation.from_bytes(run.store.read(key), key)
    report = _with_record(
        run, layout.model_link(2), key, told.model_copy(update={"metrics": told.metrics | {"test/NDCG@10": 0.99}})
    )
    assert [(fault.file, "the ranks give" in fault.what) for fault in report.faults] == [(key, True)]


def test_ranks_beyond_the_recorded_cap_are_named_and_a_run_from_before_there_was_one_passes(tmp_path: Path) -> None:
    run, key = tiny_run().copy_to(tmp_path / "run"), layout.metrics(2)
    told = Evaluation.from_bytes(run.store.read(key), key)
    assert told.rank_cap == 1000
    before = run.store.read(key).replace(b'"rank_cap": 1000, ', b"")
    assert Evaluation.from_bytes(before, key).rank_cap is None
    assert _with_record(run, layout.model_link(2), key, told.model_copy(update={"rank_cap": None})).ok
    report = _with_record(run, layout.model_link(2), key, told.model_copy(update={"rank_cap": 1}))
    assert [(fault.file, "rank_cap 1" in fault.what) for fault in report.faults] == [(told.ranks.key, True)]


def test_a_run_from_before_a_metric_was_added_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    before = tiny_run()
    later = dict(metrics.METRICS) | {"Hit": lambda ranks, _: np.full(ranks.shape, 1.0)}
    monkeypatch.setattr(metrics, "METRICS", later)
    told = EvaluationConfig(metrics=("Hit",))
    assert "test/Hit@10" in metrics.summarise(np.array([1]), told, prefix="test")
    assert "test/Hit@10" not in read_chain(before.store)[0].metrics
    assert verify(before, rows_per_iteration=1).ok


def test_a_metric_of_another_version_is_no_fault_and_a_known_one_at_another_cutoff_is_checked(tmp_path: Path) -> None:
    run, key = tiny_run().copy_to(tmp_path / "run"), layout.metrics(2)
    told = Evaluation.from_bytes(run.store.read(key), key)
    ranks = read_ranks(run.store, told).column("test_rank").drop_null().to_numpy()
    share = float(np.mean(ranks <= 5))
    kept = {name: value for name, value in told.metrics.items() if not name.startswith("test/")}
    foreign = {"test/AUC@10": 0.5, "test/NDCG": 0.5, "cold/NDCG@10": 0.5}
    good = kept | foreign | {"test/Recall@5": share}
    assert _with_record(run, layout.model_link(2), key, told.model_copy(update={"metrics": good})).ok
    wrong = good | {"test/Recall@5": share + 1e-6}
    report = _with_record(run, layout.model_link(2), key, told.model_copy(update={"metrics": wrong}))
    assert [(fault.file, "test/Recall@5" in fault.what) for fault in report.faults] == [(key, True)]


def test_a_run_without_the_metric_that_the_recursion_ends_by_is_refused(tmp_path: Path) -> None:
    run, key = tiny_run().copy_to(tmp_path / "run"), layout.metrics(2)
    told = Evaluation.from_bytes(run.store.read(key), key)
    rest = {name: value for name, value in told.metrics.items() if name != SELECTION_METRIC}
    report = _with_record(run, layout.model_link(2), key, told.model_copy(update={"metrics": rest}))
    assert [(fault.file, fault.what) for fault in report.faults] == [
        (key, "it holds no validation/NDCG@20, by which the recursion ends")
    ]


def _with_dropped(run: TinyRun, ids: list[int]) -> VerifyReport:
    """Replace the ids of iteration 1's dropped rows, mend all that its link says of them, and verify."""
    link = layout.generation_link(1)
    new = write_ids(run.store, layout.dropped(1, "other"), "dropped", np.array(ids, dtype=np.int64))
    content = content_of(run, part_files([*_parts(run, 1), new]))
    told = {"rows": content.rows, "pairs": content.pairs, "content_sha256": content.sha256, "dropped": len(ids)}
    files = tuple(new if entry.kind == "dropped" else entry for entry in _link(run, link).files)
    generation = _generation(run, 1).model_copy(update=told)
    # Iteration 2 was made from other files now: it goes, and what is left is a run under way.
    (run.path / layout.model_link(2)).unlink()
    return _changed(run, link, files=files, generation=generation)


@pytest.mark.parametrize(("reading", "remaining"), VARIANTS)
def test_rows_dropped_by_the_rule_of_the_other_reading_are_named_though_all_hashes_fit(
    tmp_path: Path, reading: str, remaining: str
) -> None:
    run = tiny_run(reading=reading, remaining=remaining).copy_to(tmp_path / "run")
    files = read_plan(run.store, 1).files
    alone, against_existing = (
        duplicate_ids(run, iteration=1, parts=_parts(run, 1), existing=existing).tolist() for existing in ((), files)
    )
    own, other = (against_existing, alone) if reading == "paper" else (alone, against_existing)
    dropped = next(entry for entry in read_chain(run.store)[1].files if entry.kind == "dropped")
    assert read_ids(run.store, dropped.key).tolist() == own
    faults = {(fault.row, fault.what) for fault in _with_dropped(run, other).faults if "dropped" in fault.file}
    what = "a duplicate that is kept" if reading == "paper" else "it is dropped, but no duplicate"
    assert faults == {(row, what) for row in {*own} ^ {*other}}
    assert faults


def test_dropped_ids_out_of_order_or_without_a_file_are_named_though_all_hashes_fit(tmp_path: Path) -> None:
    run = tiny_run().copy_to(tmp_path / "run")
    dropped = next(entry for entry in read_chain(run.store)[1].files if entry.kind == "dropped")
    falling = read_ids(run.store, dropped.key)[::-1].tolist()
    assert "its ids do not ascend" in {fault.what for fault in _with_dropped(run, falling).faults}

    key = layout.generation_link(1)
    without = tuple(entry for entry in _link(run, key).files if entry.kind != "dropped")
    said = {(fault.file, fault.what) for fault in _changed(run, key, files=without).faults}
    assert (key, "it names no file of dropped duplicates") in said


def test_a_plan_of_other_sources_is_named_though_all_hashes_fit(tmp_path: Path) -> None:
    run, key = tiny_run().copy_to(tmp_path / "run"), layout.plan(1)
    other = read_plan(run.store, 1).model_copy(update={"sources_digest": "0" * 64})
    said = {(fault.file, fault.what) for fault in _with_record(run, layout.generation_link(1), key, other).faults}
    assert (key, "it is not the plan that data and settings give") in said


def test_a_shard_whose_trials_do_not_add_up_is_named_though_all_hashes_fit(tmp_path: Path) -> None:
    run, key = tiny_run().copy_to(tmp_path / "run"), layout.commit(1, 0)
    record = CommitRecord.from_bytes(run.store.read(key), key)
    lied = record.model_copy(update={"counts": record.counts | {"trials": record.counts["trials"] + 1}})
    counters = _generation(run, 1).counters
    counters = counters | {"trials": counters["trials"] + 1}
    assert key in {
        fault.file for fault in _with_record(run, layout.generation_link(1), key, lied, counters=counters).faults
    }


def test_a_run_file_of_other_settings_is_named_by_every_manifest(tmp_path: Path) -> None:
    run = tiny_run().copy_to(tmp_path / "run")
    path = run.path / layout.RUN_CONFIG
    text = path.read_text()
    assert text.count("learning_rate: 0.02") == 1
    path.write_text(text.replace("learning_rate: 0.02", "learning_rate: 0.03"))
    said = {fault.file for fault in _checked(run).faults if "other settings" in fault.what}
    assert said == {layout.model_link(iteration) for iteration in range(3)}


def test_a_manifest_or_provenance_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for key in (layout.model_link(1), layout.generation_link(1), layout.PROVENANCE):
        run = tiny_run().copy_to(tmp_path / key.replace("/", "-"))
        (run.path / key).write_bytes(b"{")
        assert key in {fault.file for fault in _checked(run).faults}


@pytest.mark.parametrize(
    ("lost", "missing"),
    [
        (layout.folder(1), layout.model_link(1)),
        (layout.model_link(1), layout.model_link(1)),
        (layout.generation_link(1), layout.generation_link(1)),
    ],
)
def test_a_lost_manifest_between_others_is_named_and_nothing_is_made_in_its_place(
    tmp_path: Path, lost: str, missing: str
) -> None:
    run = tiny_run().copy_to(tmp_path / "run")
    path = run.path / lost
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert missing in {fault.file for fault in _checked(run).faults}
    before = sorted(run.path.rglob("MANIFEST.json"))
    with (
        pytest.raises(IntegrityError, match=f"{missing} is missing, and a later one"),
        open_run(run.store, run.config, run.dataset) as opened,
    ):
        run_recursion(opened, LocalPhases())
    assert sorted(run.path.rglob("MANIFEST.json")) == before


def test_a_run_that_lost_its_provenance_is_not_tied_to_other_data(tmp_path: Path) -> None:
    run = tiny_run().copy_to(tmp_path / "run")
    (run.path / layout.PROVENANCE).unlink()
    assert layout.PROVENANCE in {fault.file for fault in _checked(run).faults}
    with pytest.raises(IntegrityError, match="restore it"), open_run(run.store, run.config, run.dataset):
        pass


def test_a_last_manifest_that_names_nothing_or_other_settings_is_named(tmp_path: Path) -> None:
    run = tiny_run().copy_to(tmp_path / "run")
    report = _changed(run, layout.model_link(2), files=())
    assert "names no file of metrics, model, ranks, weights" in report.faults[0].what
    run = tiny_run().copy_to(tmp_path / "again")
    settings = read_chain(run.store)[2].model.settings | {"seed": 99}
    report = _changed(run, layout.model_link(2), settings=settings)
    assert [fault.what for fault in report.faults] == ["its settings are not those of its fingerprint"]


def test_faults_are_sorted_and_bounded_but_all_counted(tmp_path: Path) -> None:
    run = tiny_run().copy_to(tmp_path / "run")
    for part in _parts(run, 1):
        rows = pq.read_table(run.path / part.key).to_pylist()
        table = pa.Table.from_pylist(
            [row | {"stop_reason": "bored"} for row in rows], schema=pq.read_table(run.path / part.key).schema
        )
        buffer = pa.BufferOutputStream()
        pq.write_table(table, buffer)
        _mend(run, 1, part.key, buffer.getvalue().to_pybytes())
    report = _checked(run)
    assert len(report.faults) == 100 < report.fault_count
    named = [(fault.file, fault.row or 0) for fault in report.faults]
    assert named == sorted(named)


def test_leftovers_of_other_attempts_are_no_fault(tmp_path: Path) -> None:
    run = tiny_run().copy_to(tmp_path / "run")
    (run.path / layout.part(0, 0, "0123456789ab")).write_bytes(b"torn")
    assert _checked(run).ok


def test_a_run_that_is_under_way_passes(tmp_path: Path) -> None:
    run = tiny_run().copy_to(tmp_path / "run")
    (run.path / layout.model_link(2)).unlink()
    (run.path / layout.generation_link(1)).unlink()
    (run.path / layout.commit(1, 0)).unlink()
    report = _checked(run)
    assert report.ok
    assert report.rows == sum(entry.rows or 0 for entry in _parts(run, 0))


def test_no_run_and_other_data_are_refused(tmp_path: Path) -> None:
    run = tiny_run()
    with pytest.raises(InputError, match="is no run"):
        verify(stored_run(open_store(tmp_path)))
    other = replace(run.dataset, meta=run.dataset.meta.model_copy(update={"fingerprint": "0" * 64}))
    with pytest.raises(InputError, match="name the data that the run was made from"):
        verify(replace(run, dataset=other))
