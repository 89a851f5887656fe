"""An iteration's search is decided once, recorded, and found again by whoever opens the run."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load

from rsir_scale.augmenters.opening import augmenter_of
from rsir_scale.augmenters.rsir import calibration, searching
from rsir_scale.augmenters.rsir.rules import rules_of
from rsir_scale.augmenters.rsir.searching import decided_search, open_clusters, open_search, prepare_search
from rsir_scale.config.file import resolve
from rsir_scale.data.sequences import Sequences
from rsir_scale.errors import ConfigError, IntegrityError, ResumableError
from rsir_scale.generation.shard import generate_locally
from rsir_scale.models.repository import load_trained, publish_weights
from rsir_scale.models.shards import assemble, read_pieces
from rsir_scale.ranking import clusters as clusters_module
from rsir_scale.ranking.base import ItemSearch, SearchQuery, SearchResult
from rsir_scale.ranking.build import exact_search
from rsir_scale.runs import layout
from rsir_scale.runs.commits import missing_shards
from rsir_scale.runs.content import content_of
from rsir_scale.runs.lineage import committed_files
from rsir_scale.runs.manifest import read_chain
from rsir_scale.runs.plan import read_plan
from rsir_scale.runs.trained import read_model
from tests.loop.tiny_run import ITEMS, TinyRun, tiny_run


def _undecided(folder: Path, **fidelity: Any) -> TinyRun:
    """A run in which theta_0 and theta_1 are trained and their plans made, and nothing is decided."""
    run = tiny_run(mode="clustered").copy_to(folder / "run")
    for iteration in (0, 1):
        (run.path / layout.search(iteration)).unlink()
    raw = run.config.model_dump()
    raw["fidelity"] |= fidelity
    return replace(run, config=resolve(raw))


def _prepare(run: TinyRun, iteration: int = 0) -> None:
    prepare_search(run, read_plan(run.store, iteration))


def _content(run: TinyRun) -> list[str]:
    return [content_of(run, committed_files(run.store, k)).sha256 for k in (0, 1)]


def test_exact_decides_nothing_and_leaves_nothing(tmp_path: Path) -> None:
    run = _undecided(tmp_path, mode="exact")
    _prepare(run)
    assert not run.store.exists(layout.search(0))
    items_VD = load_trained(run, 0).item_vectors()
    assert open_search(run, 0, items_VD).name.startswith("exact/")


def test_clusters_are_published_once_and_used_by_everybody(tmp_path: Path) -> None:
    run = _undecided(tmp_path)
    _prepare(run)
    record = decided_search(run, 0)
    assert record is not None
    assert record.clusters is not None
    assert (record.mode, "1 of 8 clusters" in record.why) == ("clustered", True)
    before = (run.path / record.clusters.key).read_bytes()
    _prepare(run)
    assert decided_search(run, 0) == record
    assert (run.path / record.clusters.key).read_bytes() == before
    assert load(before)["cluster_V"].shape == (ITEMS,)
    items_VD = load_trained(run, 0).item_vectors()
    assert open_search(run, 0, items_VD).name.startswith("clustered/")


def test_an_attempt_that_comes_second_leaves_the_first_ones_record(tmp_path: Path, monkeypatch) -> None:
    run = _undecided(tmp_path)
    _prepare(run)
    record = decided_search(run, 0)
    exists = type(run.store).exists
    monkeypatch.setattr(type(run.store), "exists", lambda self, key: "search" not in key and exists(self, key))
    _prepare(run)
    assert decided_search(run, 0) == record


def test_the_next_iteration_starts_from_the_clusters_of_the_one_before(tmp_path: Path, monkeypatch) -> None:
    run = _undecided(tmp_path)
    starts: list[Any] = []
    make = searching.make_clusters

    def listen(*given: Any, start: Any, **named: Any) -> Any:
        starts.append(start)
        return make(*given, start=start, **named)

    monkeypatch.setattr(searching, "make_clusters", listen)
    _prepare(run)
    _prepare(run, 1)
    first = open_clusters(run, 0)
    assert first is not None
    assert starts[0] is None
    assert torch.equal(starts[1].cluster_V, first.cluster_V)


def test_whatever_scans_the_clusters_the_content_is_the_same(tmp_path: Path) -> None:
    run = tiny_run(mode="clustered").copy_to(tmp_path / "run")
    content = _content(run)
    for scan in ("torch", "faiss"):
        raw = run.config.model_dump()
        raw["fidelity"]["scan"] = scan
        plan = read_plan(run.store, 0)
        for shard in plan.shards:
            (run.path / layout.commit(0, shard.index)).unlink()
        generate_locally(replace(run, config=resolve(raw)), plan)
        assert _content(run) == content


@pytest.mark.parametrize("semantics", ["count", "membership"])
def test_the_manifest_says_what_was_decided_and_what_scanned(semantics: str) -> None:
    manifest = read_chain(tiny_run(mode="clustered", semantics=semantics).store)[0]
    assert f"fidelity is clustered: 1 of 8 clusters are probed, semantics {semantics}" in manifest.facts
    assert manifest.generation is not None
    assert [name.split("/")[0] for name in manifest.generation.searches] == ["clustered"]
    # This market's longest sequences are longer than its model reads, so that nothing can be kept.
    assert manifest.generation.encoders == ("uncached/torch",)


@pytest.mark.parametrize("mode", ["clustered", "exact"])
def test_the_manifest_tells_of_checks_that_could_not_fail(mode: str) -> None:
    """One cluster of eight holds fewer items than the threshold here and there; a whole catalogue never does."""
    manifest = read_chain(tiny_run(mode=mode).store)[0]
    assert manifest.generation is not None
    unfailing, steps = (manifest.generation.counters[name] for name in ("unfailing_steps", "steps"))
    told = [fact for fact in manifest.facts if "could not fail" in fact]
    if mode == "exact":
        assert (unfailing, told) == (0, [])
    else:
        assert unfailing > 0
        assert [fact.startswith(f"{unfailing} of {steps} checks saw fewer items") for fact in told] == [True]


def test_the_manifest_says_why_auto_chose_as_it_did() -> None:
    run = tiny_run(mode="auto")
    manifest, record = read_chain(run.store)[0], decided_search(run, 0)
    assert record is not None
    assert f"fidelity is exact: {record.why}" in manifest.facts
    assert "s an actor" in record.why
    assert layout.search(0) in [entry.key for entry in manifest.files]


def test_auto_stays_exact_where_that_is_soon_enough_and_makes_no_clusters(tmp_path: Path) -> None:
    run = _undecided(tmp_path, mode="auto")
    _prepare(run)
    record = decided_search(run, 0)
    assert record is not None
    assert (record.mode, record.clusters) == ("exact", None)
    assert 0 < record.figures["exact_s"] < calibration.SOON_ENOUGH_S


@pytest.mark.parametrize(("gain", "wrong", "chosen"), [(0.0, 1.0, "clustered"), (1e9, 1.0, "exact"), (0, -1, "exact")])
def test_auto_takes_clusters_only_if_much_faster_and_hardly_ever_wrong(
    tmp_path: Path, monkeypatch, gain: float, wrong: float, chosen: str
) -> None:
    run = _undecided(tmp_path, mode="auto")
    monkeypatch.setattr(calibration, "SOON_ENOUGH_S", 0.0)
    monkeypatch.setattr(calibration, "LEAST_GAIN", gain)
    monkeypatch.setattr(calibration, "MOST_FALSE_ACCEPTS", wrong)
    _prepare(run)
    record = decided_search(run, 0)
    assert record is not None
    assert (record.mode, record.clusters is not None) == (chosen, chosen == "clustered")
    assert record.figures.keys() >= {"exact_s", "clustered_s", "build_s", "false_accept_rate"}
    assert record.why.startswith("1 of 8 clusters are probed, semantics count; exact takes") == (chosen == "clustered")
    # What was chosen for the first iteration holds for the next.
    _prepare(run, 1)
    later = decided_search(run, 1)
    assert later is not None
    assert later.mode == chosen
    assert "as in iteration 0" in later.why


@dataclass
class _PassesAll:
    """A search that lets every row pass."""

    inner: ItemSearch
    name: str = "lax"

    def search(self, query: SearchQuery, *, rank_threshold: int, top_candidates: int) -> SearchResult:
        found = self.inner.search(query, rank_threshold=rank_threshold, top_candidates=top_candidates)
        return replace(found, passed_B=torch.ones_like(found.passed_B))


def _calibrate(approximate: Callable[[ItemSearch], ItemSearch], *, sources: int) -> dict[str, float]:
    run = tiny_run()
    model = load_trained(run, 0)
    exact = exact_search(model.item_vectors())
    sample = run.dataset.training_sequences().select(range(20))
    return calibration.calibrate(
        model,
        sample,
        rules_of(run.config, run.dataset),
        identity=(1, 0),
        exact=exact,
        clustered=lambda: approximate(exact),
        sources_per_actor=sources,
    ).figures


def test_auto_counts_the_rows_that_clusters_would_let_through(monkeypatch) -> None:
    monkeypatch.setattr(calibration, "SOON_ENOUGH_S", 0.0)
    assert _calibrate(_PassesAll, sources=20)["false_accept_rate"] == 1.0
    assert _calibrate(lambda exact: exact, sources=20)["false_accept_rate"] == 0.0


def test_auto_that_cannot_compare_stays_exact_and_says_why(tmp_path: Path, monkeypatch) -> None:
    run = _undecided(tmp_path, mode="auto")
    monkeypatch.setattr(calibration, "SOON_ENOUGH_S", 0.0)

    def failing(*given: object, **named: object) -> None:
        raise ArithmeticError("this user cannot be encoded")

    monkeypatch.setattr(calibration, "decode", failing)
    _prepare(run)
    record = decided_search(run, 0)
    assert record is not None
    assert (record.mode, record.clusters) == ("exact", None)
    assert "ArithmeticError: this user cannot be" in record.why


@pytest.mark.parametrize(("installed", "maker"), [(True, "faiss"), (False, "scikit-learn")])
def test_the_record_says_what_made_the_clusters(tmp_path: Path, monkeypatch, installed: bool, maker: str) -> None:
    run = _undecided(tmp_path, mode="clustered")
    monkeypatch.setattr(clusters_module, "has_faiss", lambda: installed)
    _prepare(run)
    record = decided_search(run, 0)
    assert record is not None
    assert (record.mode, record.clusters_by) == ("clustered", maker)


def test_auto_projects_its_sample_onto_all_that_an_actor_has(monkeypatch) -> None:
    monkeypatch.setattr(calibration, "SOON_ENOUGH_S", 0.0)
    # A clock that every look moves on by a second, so that each part of the sample takes as long every time.
    few, many = [], []
    for figures, sources in ((few, 20), (many, 200)):
        monkeypatch.setattr(calibration.time, "perf_counter", partial(next, count()))
        figures.append(_calibrate(lambda exact: exact, sources=sources))
    assert many[0]["exact_s"] == pytest.approx(10 * few[0]["exact_s"])
    built = few[0]["build_s"]
    assert many[0]["clustered_s"] - built == pytest.approx(10 * (few[0]["clustered_s"] - built))


def test_a_vector_that_is_not_finite_is_refused_by_the_logs_own_id(tmp_path: Path) -> None:
    run = _undecided(tmp_path)
    items_VD = load_trained(run, 0).item_vectors().detach().clone()
    items_VD[7, 3] = np.nan
    item = str(run.dataset.item_ids()[6])
    with pytest.raises(IntegrityError, match=f"item '{item}'"):
        open_search(run, 0, items_VD)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("mode", ["exact", "clustered", "auto", "off"])
def test_a_stored_model_that_is_not_finite_is_refused_by_the_logs_own_id_before_any_generation(
    tmp_path: Path, mode: str, value: float
) -> None:
    run = _undecided(tmp_path, mode=mode)
    plan = read_plan(run.store, 0)
    for shard in plan.shards:
        (run.path / layout.commit(0, shard.index)).unlink()
    _damage(run, item_index=7, value=value)
    item = str(run.dataset.item_ids()[6])
    with pytest.raises(IntegrityError, match=rf"items\.weight', item '{item}' \(item_index 7\)"):
        generate_locally(run, plan)
    assert not run.store.exists(layout.search(0))
    assert len(missing_shards(run.store, plan)) == len(plan.shards)


def _damage(run: TinyRun, *, item_index: int, value: float) -> None:
    """Give theta_0 a weight that is not a number, with a hash that fits: as a training that diverged leaves it."""
    model = read_model(run.store, 0)
    tensors = assemble(read_pieces(run.store, model.weights))
    tensors["items.weight"][item_index, 3] = value
    weights = publish_weights(run.store, 0, tensors, attempt=layout.new_attempt())
    (run.path / layout.model(0)).write_bytes(model.model_copy(update={"weights": weights}).to_bytes())


@pytest.mark.parametrize("fidelity", [{"clusters": ITEMS + 1}, {"clusters": 4, "nprobe": 5}, {"nprobe": 32}])
def test_more_clusters_than_there_are_is_refused_before_anything_starts(tmp_path: Path, fidelity: Any) -> None:
    run = _undecided(tmp_path, **fidelity)
    with pytest.raises(ConfigError, match=r"fidelity\.(clusters|nprobe)="):
        rules_of(run.config, run.dataset)


def test_more_clusters_than_items_are_refused_before_auto_starts_and_more_probed_ones_leave_it_exact(
    tmp_path: Path,
) -> None:
    run = _undecided(tmp_path, mode="auto", clusters=ITEMS + 1)
    with pytest.raises(ConfigError, match=rf"fidelity\.clusters={ITEMS + 1} "):
        rules_of(run.config, run.dataset)
    run = _undecided(tmp_path / "probed", mode="auto", clusters=4, nprobe=5)
    rules_of(run.config, run.dataset)
    _prepare(run)
    record = decided_search(run, 0)
    assert record is not None
    assert (record.mode, "nothing would be left out" in record.why) == ("exact", True)


@pytest.mark.parametrize("mode", ["clustered", "auto", "random"])
def test_a_missing_decision_is_told_and_nothing_is_searched_in_its_place(tmp_path: Path, mode: str) -> None:
    run = tiny_run(mode=mode).copy_to(tmp_path / "run")
    (run.path / layout.search(0)).unlink()
    augmenter = augmenter_of(run, 0)
    needs: list[Callable[[], object]] = [augmenter.open, augmenter.files, lambda: augmenter.facts({})]
    for need in needs:
        with pytest.raises(IntegrityError, match=rf"search\.json is missing.*fidelity\.mode={mode}.*restore it"):
            need()


@pytest.mark.parametrize("mode", ["clustered", "auto"])
def test_an_iteration_that_goes_on_from_a_missing_decision_is_refused(tmp_path: Path, mode: str) -> None:
    run = tiny_run(mode=mode).copy_to(tmp_path / "run")
    for iteration in (0, 1):
        (run.path / layout.search(iteration)).unlink()
    with pytest.raises(IntegrityError, match="iteration=000/generation/search"):
        _prepare(run, 1)


def _coin(sources: Sequences) -> calibration.Verdict:
    run = tiny_run()
    model = load_trained(run, 0)
    rules = rules_of(run.config, run.dataset)
    return calibration.coin(model, sources, rules, identity=(1, 0), search=exact_search(model.item_vectors()))


def _fail_on(poison: set[int], monkeypatch: pytest.MonkeyPatch) -> None:
    whole = calibration.decode

    def decode(backbone: Any, search: Any, sources: Sequences, *rest: Any, **more: Any) -> Any:
        if poison & set(sources.ids.tolist()):
            raise ArithmeticError("this user cannot be encoded")
        return whole(backbone, search, sources, *rest, **more)

    monkeypatch.setattr(calibration, "decode", decode)


def test_a_coin_is_measured_on_the_sources_of_the_sample_that_do_not_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    sample = tiny_run().dataset.training_sequences().select(range(20))
    alone = _coin(sample.select([place for place in range(20) if place not in (3, 8)]))
    assert alone.figures != _coin(sample).figures
    _fail_on({3, 8}, monkeypatch)
    verdict = _coin(sample)
    assert verdict.figures == alone.figures
    said = "2 of 20 sampled sources failed and were left out (the first: ArithmeticError: this user cannot be encoded)"
    assert verdict.why == f"{alone.why}; {said}"


def test_a_coin_without_a_source_to_measure_stops_the_run_resumable(monkeypatch: pytest.MonkeyPatch) -> None:
    sample = tiny_run().dataset.training_sequences().select(range(5))
    _fail_on(set(range(5)), monkeypatch)
    with pytest.raises(ResumableError, match=r"all 5 sources of the sample.*ArithmeticError: this user cannot"):
        _coin(sample)


def test_other_clusters_than_the_recorded_ones_are_not_opened(tmp_path: Path) -> None:
    run = tiny_run(mode="clustered").copy_to(tmp_path / "run")
    record = decided_search(run, 0)
    assert record is not None
    assert record.clusters is not None
    path = run.path / record.clusters.key
    path.write_bytes(path.read_bytes()[:-4] + b"\0\0\0\1")
    with pytest.raises(IntegrityError, match="restore it"):
        open_clusters(run, 0)
