import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import ttest_rel

from rsir_scale.errors import InputError
from rsir_scale.evaluation.metrics import per_user
from rsir_scale.runs.evaluated import read_evaluation
from rsir_scale.studies.contrasts import chosen
from rsir_scale.studies.order import InProcess, bring_to_end
from rsir_scale.studies.ranks import Series
from rsir_scale.studies.report import report_of
from tests.studies.test_order import cell_named
from tests.studies.world import SEEDS, begin, copy_of_study, finished_study, study_file

TEST = "test/NDCG@10"


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return report_of(copy_of_study(tmp_path_factory.mktemp("report") / "study"))


def arm(report: dict[str, Any], name: str) -> dict[str, Any]:
    return next(entry for entry in report["arms"] if entry["name"] == name)


def test_a_report_is_json_and_has_what_scripts_rely_on(found: dict[str, Any]) -> None:
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    for entry in found["arms"]:
        assert entry.keys() >= {"name", "control", "metrics", "ledger"}
        assert entry["metrics"][TEST].keys() >= {"mean", "low", "high", "against", "p_holm"}
        assert entry["ledger"].keys() >= {"updates", "seconds", "trials"}
    assert isinstance(found["verdict"], str)


def test_a_difference_is_that_of_the_metrics_that_the_runs_recorded(found: dict[str, Any]) -> None:
    study = finished_study()
    for name in ("aa", "longer-of-rsir", "rsir"):
        entry = arm(found, name)
        means = {
            kind: np.mean([_metrics(study, kind, seed, number)[TEST] for seed in SEEDS])
            for kind, number in ((name, entry["iteration"]), ("base", 0))
        }
        assert entry["metrics"][TEST]["mean"] == pytest.approx(means[name] - means["base"])
        assert entry["metrics"][TEST]["against"] == "base"
    assert arm(found, "rsir")["against"]["longer"][TEST]["against"] == "longer-of-rsir"
    assert list(arm(found, "aa")["against"]) == []


def _metrics(study: Any, name: str, seed: int, iteration: int) -> dict[str, float]:
    evaluation = read_evaluation(study.run_store(cell_named(study, name, seed)), iteration)
    assert evaluation is not None
    return evaluation.metrics


def test_arms_are_corrected_for_their_number_and_controls_are_not(found: dict[str, Any]) -> None:
    entries = [arm(found, name)["metrics"][TEST] for name in ("rsir", "shuffled")]
    smaller, larger = sorted(entries, key=lambda entry: entry["p"])
    assert smaller["p_holm"] == pytest.approx(min(1.0, 2 * smaller["p"]))
    assert larger["p_holm"] == pytest.approx(max(smaller["p_holm"], larger["p"]))
    assert arm(found, "aa")["metrics"][TEST]["p_holm"] is None


def test_a_study_of_one_seed_has_the_paired_t_test_over_its_users(tmp_path: Path) -> None:
    study = begin(tmp_path / "study", study_file(seeds=[0], arms={"rsir": {}}, without_controls="one seed is enough"))
    bring_to_end(study, (0,), InProcess(study.store.root))
    entry = arm(report_of(study), "rsir")["metrics"][TEST]
    base, ours = (
        per_user(Series({0: study.run_store(cell_named(study, name))})._ranks(0, k, "test"), metric="NDCG", cutoff=10)
        for name, k in (("base", 0), ("rsir", 1))
    )
    assert entry["p"] == pytest.approx(ttest_rel(ours, base).pvalue)


def test_an_arm_is_charged_for_its_base_and_for_what_it_wrote(found: dict[str, Any]) -> None:
    base_updates, rsir = 8, arm(found, "rsir")["ledger"]
    assert rsir["updates"] == 2 * base_updates
    assert rsir["price"]["updates"] == 2.0
    assert rsir["trials"] == 59 + 1  # every user is tried once
    assert arm(found, "aa")["ledger"]["trials"] == 0
    assert rsir["pairs"] > rsir["sequences"] > 0
    base_seconds = rsir["seconds"] / rsir["price"]["seconds"]
    assert rsir["seconds"] == pytest.approx(base_seconds + rsir["retrain_seconds"] + rsir["generate_seconds"])


def test_the_choice_is_the_best_by_validation_base_and_controls_included(found: dict[str, Any]) -> None:
    names = {"base": 0} | {entry["name"]: entry["iteration"] for entry in found["arms"]}
    means = {
        name: np.mean([_metrics(finished_study(), name, seed, number)["validation/NDCG@10"] for seed in SEEDS])
        for name, number in names.items()
    }
    assert means[found["choice"]["market"]] == max(means.values())


def test_groups_of_users_add_up_to_the_whole(found: dict[str, Any]) -> None:
    groups = arm(found, "rsir")["segments"]
    thirds = [groups[f"length/{name}"] for name in ("short", "middle", "long")]
    assert sum(group["users"] for group in thirds) == 59
    whole = sum(group["users"] * group["mean"] for group in thirds) / 59
    assert whole == pytest.approx(arm(found, "rsir")["metrics"][TEST]["mean"])


def test_the_iteration_that_stands_for_an_arm_is_the_best_by_validation_and_never_the_base(tmp_path: Path) -> None:
    base = {**study_file().base, "loop": {"iterations": 2}}
    study = begin(tmp_path / "study", study_file(base=base, arms={"rsir": {}}, without_controls="only its iterations"))
    bring_to_end(study, (0,), InProcess(study.store.root))
    series = Series({0: study.run_store(cell_named(study, "rsir"))})
    scores = [_metrics(study, "rsir", 0, number)["validation/NDCG@10"] for number in range(3)]
    best = max((1, 2), key=lambda number: (scores[number], -number))
    assert chosen(series, "NDCG@10").iteration == best
    entry = arm(report_of(study), "rsir")
    assert entry["curve"][best]["gains"]["NDCG@10"]["mean"] == pytest.approx(entry["metrics"][TEST]["mean"])
    assert entry["curve"][0]["gains"]["NDCG@10"]["mean"] == 0.0


def test_a_study_under_way_is_reported_with_what_is_missing_and_a_later_look_is_told(tmp_path: Path) -> None:
    study = copy_of_study(tmp_path / "study")
    arm_run = Path(study.run_store(cell_named(study, "shuffled", 1)).root)
    arm_run.rename(tmp_path / "elsewhere")
    for _ in range(2):
        assert report_of(study)["warnings"][0].startswith("1 of 12 cells are not finished")
    assert arm(report_of(study), "shuffled")["seeds"] == [0]
    (tmp_path / "elsewhere").rename(arm_run)
    warnings = report_of(study)["warnings"]
    assert any("looked at once before, first with 11 of 12 cells done" in warning for warning in warnings)


def test_a_study_without_finished_cells_has_no_report(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no base and no arm are finished"):
        report_of(begin(tmp_path / "study", study_file()))
