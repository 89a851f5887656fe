"""theta_0 writes under each threshold, and nothing is trained on it."""

import json
from pathlib import Path

import pytest

from benchmarks.studies import sequence_counts
from benchmarks.tests.small_market import market
from benchmarks.tests.studies.small_study import call, small
from rsir_scale.runs.manifest import read_chain
from rsir_scale.storage.opening import open_store


def test_counts_grow_with_tau_and_no_second_model_is_fitted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, found = tmp_path / "out", tmp_path / "counts.json"
    settings = [*small(), "--set", f"data.path={market().path}"]
    chosen = ["--datasets", "toys", "--backbones", "sasrec", "--readings", "released", "--thresholds", 1, 20]
    for _ in range(2):  # the second call finds everything there
        call(monkeypatch, sequence_counts.main, "run", *chosen, *settings, "--out", out)
    call(monkeypatch, sequence_counts.main, "report", "--out", out, "--json", found)
    few, many = sorted(json.loads(found.read_text())["rows"], key=lambda row: row["tau"])
    assert (few["dataset"], few["backbone"], few["reading"], few["tau"], many["tau"]) == (
        *("toys", "sasrec", "released"),
        *(1, 20),
    )
    assert few["sequences"] < many["sequences"]
    assert few["base"] == many["base"]
    folders = [open_store(folder) for folder in (out / "toys-sasrec").glob("released-*")]
    assert [len(read_chain(store)) for store in folders] == [1, 1]
