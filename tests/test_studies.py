"""What the scripts of `benchmarks/` that studies rest on skip, refuse, resume and may see."""

import importlib
import json
from argparse import Namespace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from rsir_scale.config.file import load_config, resolve
from rsir_scale.errors import ConfigError, StorageFullError
from rsir_scale.runs import layout
from rsir_scale.training.epoch import Progress
from tests.training.market import LENGTH, market, sequences_of

ROOT = Path(__file__).parents[1]
SIZES = ["model.width=8", "model.blocks=1", "model.heads=2", "model.feed_forward=8", f"data.max_length={LENGTH}"]
SMALL = [
    *SIZES,
    *("training.batch_size=64", "training.max_epochs=2", "training.negatives=16", "training.learning_rate=0.01"),
    *("generation.trials_per_sequence=1", "generation.min_length=2", "loop.variant=finetune"),
]


@pytest.fixture
def study(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Imports a script of `benchmarks/`, which are written to be run from there."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))

    def load(name: str) -> ModuleType:
        return importlib.import_module(name)

    return load


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(f"data:\n  path: {market().path}\n")
    return path


def call(monkeypatch: pytest.MonkeyPatch, script: ModuleType, *arguments: str | Path) -> None:
    monkeypatch.setattr("sys.argv", ["script", *map(str, arguments)])
    script.main()


def small(settings: list[str] = SMALL) -> list[str]:
    return [argument for setting in settings for argument in ("--set", setting)]


@pytest.fixture
def trials(tmp_path: Path) -> Path:
    path = tmp_path / "trials.yaml"
    path.write_text("- name: plain\n- name: wide\n  set: [model.feed_forward=16]\n")
    return path


def test_a_search_judges_on_validation_and_skips_what_is_done(
    study: Any, config: Path, trials: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    search, out = study("search"), tmp_path / "out" / "search.json"
    arguments = ["run", "--config", config, "--trials", trials, "--out", out, "--state", tmp_path / "state", *small()]
    call(monkeypatch, search, *arguments)
    rows = json.loads(out.read_text())["rows"]
    assert [row["name"] for row in rows] == ["plain", "wide"]
    assert rows[1]["settings"]["model.feed_forward"] == 16
    assert all(0 < row["validation/NDCG@20"] < 1 and row["epochs"] == 2 for row in rows)
    assert not [key for row in rows for key in row if "test" in key]
    assert not list((tmp_path / "state").iterdir())
    monkeypatch.setattr(search, "train_iteration", lambda *_, **__: pytest.fail("a finished trial was fitted again"))
    call(monkeypatch, search, *arguments)
    assert json.loads(out.read_text())["rows"] == rows
    trials.write_text("- name: plain\n  set: [model.dropout=0.1]\n")
    with pytest.raises(ConfigError, match="another name"):
        call(monkeypatch, search, *arguments)


def test_a_stopped_trial_ends_as_an_undisturbed_one(
    study: Any, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    search, settings = study("search"), load_config(config, [*SMALL, "seed=3"])
    undisturbed = search.run_trial("a", settings, tmp_path / "one")

    def stop(name: str, progress: Progress) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(search, "tell", stop)
        with pytest.raises(KeyboardInterrupt):
            search.run_trial("a", settings, tmp_path / "two")
    updates: list[int] = []
    monkeypatch.setattr(search, "tell", lambda name, progress: updates.append(progress.update))
    resumed = search.run_trial("a", settings, tmp_path / "two")
    assert len(updates) == 1
    assert {**resumed, "seconds": 0} == {**undisturbed, "seconds": 0}


def test_a_trial_whose_loss_is_no_number_leaves_a_row_that_says_so(study: Any, config: Path, tmp_path: Path) -> None:
    settings = load_config(config, [*SMALL, "training.learning_rate=1e30"])
    row = study("search").run_trial("wild", settings, tmp_path)
    assert "nan" in row["error"]


def test_a_trial_that_a_full_disk_stops_has_no_row_and_keeps_its_state(
    study: Any, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = study("search")

    def full(name: str, progress: Progress) -> None:
        raise StorageFullError("no byte more")

    monkeypatch.setattr(search, "tell", full)
    with pytest.raises(StorageFullError):
        search.run_trial("a", load_config(config, SMALL), tmp_path / "state")
    assert list((tmp_path / "state").rglob("state.json"))


@pytest.mark.parametrize("text", ["- set: [seed=1]\n", "- name: a\n- name: a\n", "- name: a\n  settings: [seed=1]\n"])
def test_a_malformed_list_of_trials_is_refused(study: Any, tmp_path: Path, text: str) -> None:
    (tmp_path / "trials.yaml").write_text(text)
    with pytest.raises(ConfigError):
        study("search").read_trials(tmp_path / "trials.yaml")


def test_a_reordered_copy_shuffles_one_window_and_depends_on_no_order(study: Any) -> None:
    strong = study("strong_gain")
    real = sequences_of([list(range(1, 1 + length)) for length in (1, 2, 3, 6, 20, 50)])
    config = resolve({"data": {"path": "nowhere"}, "seed": 5})
    copy = strong.reordered(real, 100, config)
    assert copy.ids.tolist() == list(range(100, 106))
    for row in range(len(real)):
        before, after = real.row(row), copy.row(row)
        assert sorted(after) == sorted(before)
        changed = np.flatnonzero(before != after)
        assert not len(changed) or changed[-1] - changed[0] < max(2, np.ceil(0.2 * len(before)))
    assert (copy.items != real.items).any()
    some = strong.reordered(real.select([5, 3]), 0, config)
    assert some.row(0).tolist() == copy.row(5).tolist()
    assert some.row(1).tolist() == copy.row(3).tolist()


def test_a_thinned_copy_leaves_items_out_and_depends_on_no_order(study: Any) -> None:
    strong = study("strong_gain")
    real = sequences_of([list(range(1, 1 + length)) for length in (2, 3, 20, 50)])
    config = resolve({"data": {"path": "nowhere"}, "generation": {"trials_per_sequence": 40}})
    copies = strong.thinned(real, 100, config)
    assert copies.ids[0] >= 100
    assert len(set(copies.ids)) == len(copies)
    assert copies.lengths.min() == 2
    last = copies.select(np.flatnonzero(copies.ids >= 100 + 3 * 40))
    assert len(last) == 40
    for row in range(len(last)):
        assert (np.diff(last.row(row)) > 0).all()
    assert 50 * 0.65 < last.lengths.mean() < 50 * 0.85
    alone = strong.thinned(real.select([3]), 220, config)
    assert alone.items.tolist() == last.items.tolist()


def test_rsir_is_set_against_its_base_more_training_and_copies(
    study: Any, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    strong, out, found = study("strong_gain"), tmp_path / "out", tmp_path / "strong.json"
    arguments = ["run", "--config", config, "--out", out, "--seeds", "0", "1", *small()]
    call(monkeypatch, strong, *arguments)
    ranks = tmp_path / "ranks.parquet"
    call(monkeypatch, strong, "report", "--out", out, "--ranks", ranks, "--json", found)
    rows = json.loads(found.read_text())["rows"]
    others = {"extra-finetune", "copies-finetune", "reordered-finetune", "thinned-finetune"}
    expected = {("rsir-finetune", against) for against in {"base", *others}} | {(other, "base") for other in others}
    assert {(row["arm"], row["against"]) for row in rows} == expected
    assert all(row["seeds"] == [0, 1] and len(row["per_seed"]) == 2 for row in rows)
    assert len(rows) == 9 * 2 * 4
    monkeypatch.setattr(strong, "train_iteration", lambda *_, **__: pytest.fail("a finished fit was made again"))
    call(monkeypatch, strong, *arguments)
    # On another machine the runs are gone: what was kept gives the same rows.
    call(monkeypatch, strong, "report", "--out", tmp_path / "gone", "--ranks", ranks, "--json", found)
    assert json.loads(found.read_text())["rows"] == rows


def test_arms_of_a_paired_study_may_be_made_on_several_machines(
    study: Any, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paired, found, ranks = study("paired_gain"), tmp_path / "gain.json", tmp_path / "ranks.parquet"
    arms = ["--arm", "two:loop.iterations=2", "--arm", "aa"]

    def rows_after(machine: str, *seeds: str) -> list[dict[str, Any]]:
        out = tmp_path / machine
        if seeds:
            call(monkeypatch, paired, "run", "--config", config, "--out", out, "--seeds", *seeds, *arms, *small())
        call(monkeypatch, paired, "report", "--out", out, "--ranks", ranks, "--json", found)
        return list(json.loads(found.read_text())["rows"])

    rows = rows_after("one", "0", "1")
    assert {(row["arm"], row["iteration"]) for row in rows} == {("two", 1), ("two", 2), ("aa", 1)}
    assert len(rows) == 3 * 2 * 4
    assert all(row["against"] == "base" and row["seeds"] == [0, 1] for row in rows)
    assert all(row["generated"]["new_sequences"] > 0 for row in rows if row["arm"] == "two")
    both = rows_after("two", "2")
    assert all(row["seeds"] == [0, 1, 2] for row in both)
    # What was generated is told only where every run of a row is there.
    assert not any("generated" in row for row in both)
    assert [row["per_seed"][:2] for row in both] == [row["per_seed"] for row in rows]
    assert rows_after("gone") == both


def test_a_kept_model_is_never_exchanged_for_another_of_its_name(study: Any, tmp_path: Path) -> None:
    kept_ranks, path = study("kept_ranks"), tmp_path / "ranks.parquet"
    ranks = {split: np.array([1.0, 3.0, np.nan]) for split in ("validation", "test")}
    kept_ranks.keep(path, {("rsir", 1, 1): ranks})
    assert kept_ranks.keep(path, {("rsir", 1, 1): ranks}).keys() == {("rsir", 1, 1)}
    with pytest.raises(SystemExit, match=r"\('rsir', 1, 1\) with other ranks"):
        kept_ranks.keep(path, {("rsir", 1, 1): ranks | {"test": np.array([1.0, 2.0, np.nan])}})


def test_what_a_kill_leaves_of_a_copied_base_is_taken_for_no_model(
    study: Any, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paired, settings = study("paired_gain"), [*SMALL, "loop.iterations=0"]
    paired.run_arm(str(config), settings, "first", 0, tmp_path)

    def killed(model: Path, copy: Path) -> None:
        copy.mkdir(parents=True)
        (copy / "model.json").write_bytes((model / "model.json").read_bytes())
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(paired.shutil, "copytree", killed)
        with pytest.raises(KeyboardInterrupt):
            paired.run_arm(str(config), settings, "second", 0, tmp_path)
    paired.run_arm(str(config), settings, "second", 0, tmp_path)
    made, copied = (
        {file.name: file.read_bytes() for file in (tmp_path / f"{arm}-seed0" / layout.folder(0) / "model").iterdir()}
        for arm in ("first", "second")
    )
    assert made == copied


def test_a_clustered_theta_1_is_set_against_the_exact_one(
    study: Any, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clusters, out, found = study("cluster_accuracy"), tmp_path / "out", tmp_path / "clusters.json"
    arguments = ["--seeds", "0", "--nprobe", "2", "--semantics", "count", *small()]
    call(monkeypatch, clusters, "run", "--config", config, "--out", out, *arguments)
    call(monkeypatch, clusters, "report", "--out", out, "--json", found)
    rows = json.loads(found.read_text())["rows"]
    assert {(row["arm"], row["against"]) for row in rows} == {
        ("exact", "base"),
        ("count2", "base"),
        ("count2", "exact"),
    }
    against = {(row["arm"], row["against"], row["split"], row["metric"]): row for row in rows}
    for (arm, other, *where), row in against.items():
        if other == "exact":
            assert row["base"] == against["exact", "base", *where]["treated"]
            assert row["treated"] == against[arm, "base", *where]["treated"]


def test_the_control_trains_on_as_long_as_theta_1_of_its_variant_from_the_same_base(study: Any, config: Path) -> None:
    strong, paired = study("strong_gain"), study("paired_gain")
    passes = ["training.max_epochs=7", "training.finetune_epochs=3"]
    arguments = Namespace(config=str(config), overrides=passes)
    found = {}
    for variant in strong.VARIANTS:
        name, _, keys = strong.extra_arm(arguments, variant).partition(":")
        found[name] = load_config(config, [*passes, *keys.split(",")])
        assert paired.training_settings(found[name]) == paired.training_settings(load_config(config, passes))
    most = {name: chosen.training.for_finetuning().max_epochs for name, chosen in found.items()}
    assert most == {"extra-finetune": 3, "extra-retrain": 7}
    assert {chosen.loop.variant for chosen in found.values()} == {"finetune"}


def test_a_grid_of_teachers_is_reported_and_drawn(
    study: Any, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid, out, found = study("weak_to_strong"), tmp_path / "out", tmp_path / "grid.json"
    # One size: without a teacher of another run.
    arguments = ["run", "--config", config, "--out", out, "--seeds", "0", "--sizes", "8x1", *small()]
    call(monkeypatch, grid, *arguments)
    kept = ["--ranks", tmp_path / "ranks.parquet"]
    call(monkeypatch, grid, "report", "--out", out, *kept, "--json", found, "--figure", tmp_path / "grid.png")
    assert {(row["teacher"], row["student"]) for row in json.loads(found.read_text())["rows"]} == {("8x1", "8x1")}
    assert (tmp_path / "grid.png").stat().st_size > 1000
    with pytest.raises(SystemExit, match="WIDTHxBLOCKS"):
        grid.size_settings("64")


def test_curves_of_workers_are_compared_interval_by_interval(study: Any) -> None:
    one = {"workers": 1, "loss": [4.0, 2.0], "validation_ndcg_20": [0.1, 0.2], "fit_s": 9.0}
    two = {"workers": 2, "loss": [4.1, 1.8], "validation_ndcg_20": [0.1, 0.23], "fit_s": 6.0}
    found = study("two_workers").compare(two, one)
    assert found["largest_loss_difference"] == pytest.approx(0.1)
    assert found["largest_ndcg_20_difference"] == pytest.approx(0.03)
    assert found["speedup"] == 1.5


def test_both_sides_of_the_timing_train_on_the_same_items(study: Any) -> None:
    real = market().training_sequences()
    cut = study("training")._latest(real, 6)
    assert [cut.row(row).tolist() for row in range(len(real))] == [
        real.row(row)[-6:].tolist() for row in range(len(real))
    ]


def test_the_pages_tables_of_gains_are_those_of_the_studies_files(study: Any) -> None:
    tables = study("results_tables")
    for page, header in tables.tables():
        assert page.read_text().count(f"{header}\n") == 1, header
        assert tables.rewritten(page) == page.read_text(), (
            "write them again: python -m benchmarks.studies.results_tables"
        )
