"""The paper's tables as studies: each file can be run, and the page says what the results hold."""

import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.studies import paper, paper_kept, paper_page
from benchmarks.studies.paper_counts import counts
from benchmarks.studies.paper_lines import FAILS, HOLDS, OPEN, OPEN_SMALLER, SMALLER, Gain, word
from benchmarks.studies.paper_studies import FILES, STUDIES, PaperStudy, preparing
from rsir_scale.config.file import load_config
from rsir_scale.studies.cells import cells_of, config_of

FIGURES = yaml.safe_load((Path(paper_page.__file__).parent / "paper_figures.yaml").read_text())


def test_the_page_is_what_the_results_say() -> None:
    assert paper_page.page() == paper_page.PAGE.read_text(), "write it again: python -m benchmarks.studies.paper_page"


def test_each_study_file_belongs_to_a_table() -> None:
    assert {path.stem for path in FILES.glob("*.yaml")} == {study.name for study in STUDIES}


@pytest.mark.parametrize("study", STUDIES, ids=lambda study: study.name)
def test_a_study_of_the_paper_has_cells_that_can_be_made_and_says_how(study: PaperStudy) -> None:
    file, text = study.read(), study.path.read_text()
    assert f"#   {study.command()}\n" in text
    for command in {command for folder in file.datasets.values() for command in preparing(Path(folder).name)}:
        assert command.replace("--out ", "--out data/").replace("data noise ", "data noise data/") in text
    settings = [config_of(file, cell) for cell in cells_of(file, file.seeds[:1])]
    assert {config.training.loss for config in settings} == {"sampled_softmax"}


@pytest.mark.parametrize("name", ["toys", "beauty"])
def test_the_fine_tuned_arm_of_every_backbone_is_the_config_that_was_chosen(name: str) -> None:
    chosen = load_config(f"configs/{name}.yaml", ())
    for backbone in ("cl4srec", "hstu"):
        file = next(study for study in STUDIES if study.name == f"{name}-{backbone}").read()
        cell = next(cell for cell in cells_of(file, (0,)) if cell.name == "rsir-ft")
        config = config_of(file, cell)
        for section in ("training", "fidelity", "loop"):
            assert getattr(config, section) == getattr(chosen, section)
        assert config.generation.trials_per_sequence == chosen.generation.trials_per_sequence


def test_the_paper_s_figures_are_complete() -> None:
    rows = [FIGURES["accuracy"][backbone] for backbone in ("sasrec", "cl4srec", "hstu")]
    assert all(len(cell) == 4 for row in rows for of in row.values() for cell in of.values())
    assert sum(len(of) for row in rows for of in row.values()) == 3 * 8 * 4
    assert FIGURES["accuracy"]["sasrec"]["rsir"]["sports"] == FIGURES["iterations"]["sports"][1]
    assert FIGURES["thresholds"][20] == FIGURES["exploitation"][0.5] == FIGURES["noise"]["sports"][0]["rsir"]


_percent = st.floats(-20, 20)


@given(low=_percent, width=st.floats(0.01, 20), stated=st.floats(0.1, 20))
def test_a_word_follows_from_the_interval(low: float, width: float, stated: float) -> None:
    said = word(Gain(1.0, 1.0 + low / 100, low, low + width), Gain(1.0, 1.0 + stated / 100))
    assert (said in (HOLDS, SMALLER)) == (low > 0)
    assert (said == FAILS) == (low + width <= 0)
    assert (said in (OPEN, OPEN_SMALLER)) == (low <= 0 < low + width)
    assert said in (SMALLER, OPEN_SMALLER, FAILS) or stated <= low + width + 1e-9


def test_the_nearest_tau_is_told_with_what_was_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    row = {"dataset": "toys", "backbone": "sasrec", "reading": "released"}
    rows = [row | {"tau": tau, "sequences": n, "pairs": 3 * n} for tau, n in ((1, 10), (5, 2000), (10, 9000))]
    monkeypatch.setattr("benchmarks.studies.paper_counts.results_in", lambda _: {"rows": rows})
    text = "\n".join(counts(FIGURES))
    assert "| toys, sasrec | 2,316 (6,328) | released | 5 | 2,000 (6,000) | 0.86 (0.95) times |" in text
    assert "1 of 1 counts" in text
    assert "Not run: beauty with sasrec" in text


def test_the_cheapest_study_comes_first_and_one_that_fails_is_not_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    called: list[str] = []

    def run(study: PaperStudy, out: Path, *, workers: int, until: float) -> bool:
        called.append(study.name)
        return study.name != "sports-check"

    monkeypatch.setattr(paper, "run", run)
    monkeypatch.setattr(paper, "is_finished", lambda study, _: study.name in called and study.name != "sports-check")
    monkeypatch.setattr(paper, "missing_data", lambda study: ["data/yelp"] if "yelp" in study.name else [])
    monkeypatch.setattr(paper, "keep", lambda study, _: None)
    names = ["sports-check", "toys-semantic-ids", "yelp-hstu", "toys-hstu"]
    arguments = ["--minutes", "60", "--out", str(tmp_path), "--only", *names]
    monkeypatch.setattr("sys.argv", ["paper", *arguments])
    paper.main()
    assert called == ["toys-semantic-ids", "toys-hstu", "sports-check"]
    told = capsys.readouterr().out
    assert "2 of 4 studies are finished" in told
    assert f"rsir study run configs/paper/sports-check.yaml --out {tmp_path}/sports-check --workers 2" in told
    assert "first: rsir data import --format sequences PATH/Yelp.txt --out data/yelp" in told


def test_no_minutes_begin_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paper, "run", lambda *_, **__: pytest.fail("nothing may run"))
    monkeypatch.setattr("sys.argv", ["paper", "--minutes", "0", "--out", str(tmp_path)])
    paper.main()


def test_a_kept_report_has_fewer_digits_and_no_place() -> None:
    assert paper._rounded({"a": [0.12345678, 3, "text", None]}) == {"a": [0.123457, 3, "text", None]}


def test_a_study_that_is_kept_is_shown_in_place_of_the_script_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = {"base": 0.05, "value": 0.06, "percent": [20.0, 10.0, 30.0]}
    names = [*paper_kept.ALL, "Precision@10", "F1@10", "MRR@10"]
    ledger = {"seconds": 9.0, "generate_seconds": 1.0, "retrain_seconds": 4.0, "price": {"seconds": 2.0}}
    arms = [
        {"name": name, "dataset": "toys", "control": None, "seeds": [0, 1], "ledger": ledger}
        | {"metrics": {f"test/{metric}": entry for metric in names}}
        for name in ("rsir", "dr4sr", "asrep")
    ]
    (tmp_path / "paper").mkdir()
    (tmp_path / "paper" / "toys-sasrec.json").write_text(json.dumps({"report": {"arms": arms, "seeds": [0, 1]}}))
    monkeypatch.setattr(paper_kept, "RESULTS", tmp_path)
    text = paper_page.page()
    assert "| [toys, sasrec](results/paper/toys-sasrec.json) | study | rsir | .0508 / .0872 |" in text
    assert "+20.0 % [+10.0, +30.0] / +20.0 % [+10.0, +30.0] | +13.5 / +10.3 | 2 | holds |" in text
    assert "| dr4sr | 4129 s, 640 s | 1 s, 4 s | 18.3, 1.0 |" in text
    assert "1 of 21 studies are finished" in text
