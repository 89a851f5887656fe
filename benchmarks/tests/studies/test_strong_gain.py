"""RSIR against its base, more training and copies: what a copy is, and what is set against what."""

import json
from argparse import Namespace
from pathlib import Path

import pytest

from benchmarks.studies import paired_gain, strong_gain
from benchmarks.tests.studies.small_study import call, small
from rsir_scale.config.file import load_config
from rsir_scale.loop.local import LocalPhases


@pytest.mark.slow
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
    monkeypatch.setattr(LocalPhases, "train", lambda *_: pytest.fail("a finished fit was made again"))
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
