"""The clustered check against the exact one."""

import json
from pathlib import Path

import pytest

from benchmarks.studies import cluster_accuracy
from benchmarks.tests.studies.small_study import call, small


def test_a_clustered_theta_1_is_set_against_the_exact_one(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, found = tmp_path / "out", tmp_path / "clusters.json"
    arguments = ["--seeds", "0", "--nprobe", "2", "--semantics", "count", *small()]
    call(monkeypatch, cluster_accuracy.main, "run", "--config", config, "--out", out, *arguments)
    call(monkeypatch, cluster_accuracy.main, "report", "--out", out, "--json", found)
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
