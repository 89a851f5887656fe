"""Our figures against those of other libraries on the same input, each in an environment of its own, made by pip."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rsir_scale.analysis.entropy import approximate_entropy
from rsir_scale.analysis.lists import describe, lists_of
from rsir_scale.config.settings import EvaluationConfig
from rsir_scale.evaluation.metrics import METRICS, summarise
from tests.analysis.worlds import sequences_of

pytestmark = [pytest.mark.slow, pytest.mark.network, pytest.mark.timeout(1800)]
OTHERS = Path(__file__).parent / "others"
USERS, ITEMS, PLACES = 300, 80, 20
CUTOFFS = [1, 5, 10, 20]


def _ask(folder: Path, script: str, world: dict[str, Any], *packages: str) -> dict[str, Any]:
    """Run a script in a fresh environment with these packages."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", *packages], check=True)
    done = subprocess.run(
        [python, OTHERS / script], input=json.dumps(world), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def _world() -> dict[str, Any]:
    """Lists of distinct items, with the target in most of them, and training rows in which items repeat."""
    numbers = np.random.default_rng(5)
    lists = np.stack([numbers.permutation(ITEMS)[:PLACES] + 1 for _ in range(USERS)])
    targets = np.where(
        numbers.random(USERS) < 0.7,
        lists[np.arange(USERS), numbers.integers(0, PLACES, USERS)],
        numbers.integers(1, ITEMS + 1, USERS),
    )
    popular = np.minimum(numbers.zipf(1.3, (USERS, 12)), ITEMS - 3)
    return {
        "lists": lists.tolist(),
        "targets": targets.tolist(),
        "training": popular.tolist(),
        "items": ITEMS,
        "cutoffs": CUTOFFS,
    }


def _ours(world: dict[str, Any]) -> dict[str, float]:
    lists, targets = np.array(world["lists"]), np.array(world["targets"])
    hits = lists == targets[:, None]
    ranks = np.where(hits.any(1), hits.argmax(1) + 1, PLACES + 1)
    config = EvaluationConfig(metrics=tuple(METRICS), cutoffs=tuple(CUTOFFS))
    found = {name.removeprefix("test/"): value for name, value in summarise(ranks, config, prefix="test").items()}
    for cutoff in CUTOFFS:
        of = lists_of(lists[:, :cutoff], targets, sequences_of(world["training"]), item_count=ITEMS)
        found |= describe(of)
    return found


@pytest.mark.parametrize(
    ("script", "packages", "absent"),
    [
        ("ask_rectools.py", ["rectools==0.19.*"], {"gini"}),
        (
            "ask_recbole.py",
            ["recbole==1.2.*", "torch==2.13.*", "numpy<2", "pandas<2.3", "setuptools"],
            {"F1", "novelty", "serendipity"},
        ),
    ],
    ids=["RecTools", "RecBole"],
)
def test_metrics_are_those_of(script: str, packages: list[str], absent: set[str], tmp_path: Path) -> None:
    world = _world()
    theirs, ours = _ask(tmp_path / "their", script, world, *packages), _ours(world)
    assert {name.partition("@")[0] for name in ours.keys() - theirs.keys()} == absent
    assert theirs == pytest.approx({name: ours[name] for name in theirs}, abs=1e-6)


def test_approximate_entropy_of_long_sequences_is_that_of_antropy_and_entropyhub(tmp_path: Path) -> None:
    numbers = np.random.default_rng(2)
    rows = [numbers.integers(1, items + 1, 1500).tolist() for items in (2, 3, 5, 10)]
    theirs = _ask(tmp_path / "their", "ask_entropies.py", {"rows": rows, "m": 2}, "antropy==0.2.3", "EntropyHub==2.0")
    ours = approximate_entropy(sequences_of(rows)).tolist()
    assert theirs["antropy"] == pytest.approx(ours, abs=1e-9)
    assert theirs["EntropyHub"] == pytest.approx(ours, abs=1e-9)
