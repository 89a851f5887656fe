from pathlib import Path
from typing import Any

import pytest
import yaml

from rsir_scale.errors import ConfigError
from rsir_scale.studies.cells import cells_of, config_of
from rsir_scale.studies.file import load_study_file, parse_study_file
from tests.studies.world import ARMS, raw_study, study_file

ROOT = Path(__file__).parents[2]
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no A/A": ({"arms": {"rsir": {}, "longer": {"control": "longer"}}}, "no control aa.*without_controls"),
    "no longer training": ({"arms": {"rsir": {}, "aa": {"control": "aa"}}}, "no control longer"),
    "controls alone": ({"arms": {"aa": {"control": "aa"}}}, "controls alone"),
    "a control that is none": ({"arms": {**ARMS, "x": {"control": "placebo"}}}, "placebo.*aa, longer, copies, random"),
    "an arm without a section": ({"arms": {**ARMS, "x": {"augmenter": "dr4sr"}}}, "arms.x.augmenter.*section.key"),
    "an arm of other data": ({"arms": {**ARMS, "x": {"data.path": "elsewhere"}}}, "arms.x.data.path"),
    "an arm with a seed": ({"arms": {**ARMS, "x": {"seed": 3}}}, "arms.x.seed"),
    "an arm with cutoffs": ({"arms": {**ARMS, "x": {"evaluation.cutoffs": [3]}}}, "evaluation.cutoffs .cutoffs."),
    "an arm called base": ({"arms": {**ARMS, "base": {}}}, "every study has"),
    "a name that is a path": ({"datasets": {"../up": "data"}}, r"\.\./up"),
    "a seed twice": ({"seeds": [1, 1]}, "names one twice"),
    "no seeds": ({"seeds": []}, "seeds"),
    "a seed that is true": ({"seeds": [True]}, "seeds"),
    "a metric of nobody's": ({"metric": "AUC@10"}, "AUC@10.*NDCG"),
    "a metric at no cutoff": ({"metric": "NDCG@7"}, r"NDCG@7.*\[5, 10\]"),
    "a key that is none": ({"arm": {}}, "arm"),
    "a reason that is none": ({"without_controls": "no"}, "without_controls"),
    "longer for an arm that is none": (
        {"arms": {**ARMS, "longer": {"control": "longer", "of": ["rsri"]}}},
        "arms.longer.of names 'rsri'.*none of the arms",
    ),
    "longer for some arms without a reason": (
        {"arms": {**ARMS, "other": {"model.width": 24}, "longer": {"control": "longer", "of": ["rsir"]}}},
        "leaves out .*other.*without_controls",
    ),
    "another control for some arms": ({"arms": {**ARMS, "aa": {"control": "aa", "of": ["rsir"]}}}, "control longer"),
    "longer for a number": ({"arms": {**ARMS, "longer": {"control": "longer", "of": [3]}}}, "arms.longer"),
    "no CPU": ({"cell": {"cpus": 0}}, "cell.cpus"),
}


@pytest.mark.parametrize(("changes", "said"), REFUSED.values(), ids=REFUSED)
def test_a_study_file_with_a_fault_is_refused_with_key_and_rule(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        study_file(**changes)


def test_a_study_may_say_why_it_has_no_controls() -> None:
    file = study_file(arms={"rsir": None}, without_controls="a grid around a study that has them")
    assert file.all_arms[0].overrides == {}


def test_two_arms_of_one_name_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text("base: {}\ndatasets: {a: b}\nseeds: [0]\narms:\n  rsir: {}\n  rsir: {}\n")
    with pytest.raises(ConfigError, match=r"study file .*'rsir' stands here twice"):
        load_study_file(path)


def test_a_base_may_be_a_file_and_its_arms_keep_their_order(tmp_path: Path) -> None:
    raw = raw_study()
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(raw["base"]))
    (tmp_path / "study.yaml").write_text(
        yaml.safe_dump({**raw, "base": str(tmp_path / "base.yaml"), "datasets": {"x": "data"}}, sort_keys=False)
    )
    file = load_study_file(tmp_path / "study.yaml")
    assert file.base == parse_study_file(raw, "x").base
    assert list(file.arms) == list(ARMS)
    assert Path(file.datasets["x"]).is_absolute()


def test_a_base_that_is_not_there_is_told(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text("base: nowhere.yaml\n")
    with pytest.raises(ConfigError, match=r"config 'nowhere\.yaml' cannot be read"):
        load_study_file(tmp_path / "study.yaml")


@pytest.mark.parametrize("path", sorted((ROOT / "configs" / "paper").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_study_of_the_paper_resolves_and_says_how_to_run_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    file = load_study_file(path)
    for cell in cells_of(file, file.seeds[:1]):
        assert config_of(file, cell).data.path in file.datasets.values()
    assert f"rsir study run configs/paper/{path.name}" in path.read_text()
