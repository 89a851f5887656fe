"""What was measured here for the paper's tables: reports of finished studies, and what scripts before them left.

Comes in: names of files in `docs/results/`. Goes out: arms, gains, and the rows of Tables 1 and 5, which several parts
of the page read. A file that is not there is not an error: nothing was run.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.studies.paper_lines import Gain, Line, of_row, of_study
from benchmarks.studies.paper_studies import BACKBONES, LOGS

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs" / "results"
AT_10, AT_20 = ("NDCG@10", "Recall@10"), ("NDCG@20", "Recall@20")
ALL = (*AT_10, *AT_20)
ROWS = ("reordering", "insertion", "asrep", "diffuasr", "dr4sr", "rsir-ft", "rsir")
EARLIER = {"rsir": "retrain", "rsir-ft": "finetune"}  # arms of the scripts before there were studies
Figures = Mapping[Any, Any]


def kept_report(name: str) -> dict[str, Any] | None:
    """What `paper` kept of a finished study."""
    return results_in(f"paper/{name}.json")


def results_in(name: str) -> dict[str, Any] | None:
    """A file of results; None where it is not there."""
    path = RESULTS / name
    if not path.exists():
        return None
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def arms_of(name: str) -> list[dict[str, Any]]:
    """The arms and controls of a finished study; none where it is not finished."""
    found = kept_report(name)
    return [] if found is None else list(found["report"]["arms"])


def our_gains(arm: Mapping[str, Any], metrics: tuple[str, ...] = ALL) -> dict[str, Gain]:
    """An arm of a study against its base, on test."""
    return {metric: of_study(arm["metrics"][f"test/{metric}"]) for metric in metrics}


def stated_gains(base: list[float], value: list[float], metrics: tuple[str, ...] = ALL) -> dict[str, Gain]:
    """Two rows of the paper, one against the other."""
    return {metric: Gain(one, other) for metric, one, other in zip(metrics, base, value, strict=True)}


def accuracy_lines(figures: Figures) -> Iterator[Line]:
    """Table 1 and 5: from the study of a dataset and a backbone, else from the script before it."""
    for backbone in BACKBONES:
        stated = figures["accuracy"][backbone]
        for dataset in LOGS:
            name = f"{dataset}-{backbone}"
            arms = {arm["name"]: arm for arm in arms_of(name)}
            for row in ROWS:
                theirs = stated_gains(stated["base"][dataset], stated[row][dataset])
                shown = f"[{dataset}, {backbone}](results/{'paper/' if arms else 'paper-'}{name}.json)"
                if row in arms:
                    yield Line((shown, "study", row), theirs, our_gains(arms[row]), len(arms[row]["seeds"]))
                elif not arms and (found := earlier_gains(f"paper-{name}.json", EARLIER.get(row, ""))):
                    yield Line((shown, "script", row), theirs, found[0], found[1])


def earlier_gains(name: str, arm: str) -> tuple[dict[str, Gain], int] | None:
    """What a script before the studies found of an arm against its base on test, and with how many seeds."""
    rows = [
        row
        for row in (results_in(name) or {"rows": []})["rows"]
        if (row["arm"], row["split"], row["iteration"], row.get("against", "base")) == (arm, "test", 1, "base")
    ]
    return ({row["metric"]: of_row(row) for row in rows}, len(rows[0]["per_seed"])) if rows else None
