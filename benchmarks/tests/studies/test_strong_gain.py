"""RSIR against its base, more training and copies: what a copy is, and what is set against what."""

import json
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.studies import paired_gain, strong_gain
from benchmarks.tests.small_market import sequences_of
from benchmarks.tests.studies.small_study import call, small
from rsir_scale.config.file import load_config, resolve


def test_a_reordered_copy_shuffles_one_window_and_depends_on_no_order() -> None:
    real = sequences_of([list(range(1, 1 + length)) for length in (1, 2, 3, 6, 20, 50)])
    config = resolve({"data": {"path": "nowhere"}, "seed": 5})
    copy = strong_gain.reordered(real, 100, config)
    assert copy.ids.tolist() == list(range(100, 106))
    for row in range(len(real)):
        before, after = real.row(row), copy.row(row)
        assert sorted(after) == sorted(before)
        changed = np.flatnonzero(before != after)
        assert not len(changed) or changed[-1] - changed[0] < max(2, np.ceil(0.2 * len(before)))
    assert (copy.items != real.items).any()
    some = strong_gain.reordered(real.select([5, 3]), 0, config)
    assert some.row(0).tolist() == copy.row(5).tolist()
    assert some.row(1).tolist() == copy.row(3).tolist()


def test_a_thinned_copy_leaves_items_out_and_depends_on_no_order() -> None:
    real = sequences_of([list(range(1, 1 + length)) for length in (2, 3, 20, 50)])
    config = resolve({"data": {"path": "nowhere"}, "generation": {"trials_per_sequence": 40}})
    copies = strong_gain.thinned(real, 100, config)
    assert copies.ids[0] >= 100
    assert len(set(copies.ids)) == len(copies)
    assert copies.lengths.min() == 2
    last = copies.select(np.flatnonzero(copies.ids >= 100 + 3 * 40))
    assert len(last) == 40
    for row in range(len(last)):
        assert (np.diff(last.row(row)) > 0).all()
    assert 50 * 0.65 < last.lengths.mean() < 50 * 0.85
    alone = strong_gain.thinned(real.select([3]), 220, config)
    assert alone.items.tolist() == last.items.tolist()


def test_rsir_is_set_against_its_base_more_training_and_copies(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, found = tmp_path / "out", tmp_path / "strong.json"
    arguments = ["run", "--config", config, "--out", out, "--seeds", "0", "1", *small()]
    call(monkeypatch, strong_gain.main, *arguments)
    ranks = tmp_path / "ranks.parquet"
    call(monkeypatch, strong_gain.main, "report", "--out", out, "--ranks", ranks, "--json", found)
    rows = json.loads(found.read_text())["rows"]
    others = {"extra-finetune", "copies-finetune", "reordered-finetune", "thinned-finetune"}
    expected = {("rsir-finetune", against) for against in {"base", *others}} | {(other, "base") for other in others}
    assert {(row["arm"], row["against"]) for row in rows} == expected
    assert all(row["seeds"] == [0, 1] and len(row["per_seed"]) == 2 for row in rows)
    assert len(rows) == 9 * 2 * 4
    monkeypatch.setattr(strong_gain, "train_iteration", lambda *_, **__: pytest.fail("a finished fit was made again"))
    call(monkeypatch, strong_gain.main, *arguments)
    # On another machine the runs are gone: what was kept gives the same rows.
    call(monkeypatch, strong_gain.main, "report", "--out", tmp_path / "gone", "--ranks", ranks, "--json", found)
    assert json.loads(found.read_text())["rows"] == rows


def test_the_control_trains_on_as_long_as_theta_1_of_its_variant_from_the_same_base(config: Path) -> None:
    passes = ["training.max_epochs=7", "training.finetune_epochs=3"]
    arguments = Namespace(config=str(config), overrides=passes)
    found = {}
    for variant in strong_gain.VARIANTS:
        name, _, keys = strong_gain.extra_arm(arguments, variant).partition(":")
        found[name] = load_config(config, [*passes, *keys.split(",")])
        assert paired_gain.training_settings(found[name]) == paired_gain.training_settings(load_config(config, passes))
    most = {name: chosen.training.for_finetuning().max_epochs for name, chosen in found.items()}
    assert most == {"extra-finetune": 3, "extra-retrain": 7}
    assert {chosen.loop.variant for chosen in found.values()} == {"finetune"}
