"""What a study tells of its models' top-n lists."""

from pathlib import Path
from typing import Any

import pytest

from rsir_scale.analysis.report import analyse
from rsir_scale.runs.begun import read_config
from rsir_scale.runs.run import Run
from rsir_scale.studies.adding import add_cells
from rsir_scale.studies.lists import read_lists
from rsir_scale.studies.looks import models_digest
from rsir_scale.studies.order import InProcess, bring_to_end
from rsir_scale.studies.report import report_of
from tests.loop.tiny_run import tiny_dataset
from tests.studies.test_order import cell_named
from tests.studies.world import SEEDS, begin, copy_of_study, finished_study, study_file


def test_a_cell_keeps_what_analyse_says_of_its_models_lists() -> None:
    study = finished_study()
    cell = cell_named(study, "rsir")
    store = study.run_store(cell)
    kept = read_lists(study.store, cell)
    assert kept is not None
    for top in study.file.cutoffs:
        told = analyse(Run(store, tiny_dataset(), read_config(store)), top=top)["iterations"]
        for mine, theirs in zip(kept.iterations, told, strict=True):
            of_top = {name: value for name, value in mine.items() if name.endswith(f"@{top}")}
            assert len(of_top) == 5
            assert of_top.items() <= theirs.items()


def test_a_report_has_the_means_of_the_iteration_that_stands_for_an_arm(tmp_path: Path) -> None:
    study = copy_of_study(tmp_path / "study")
    entry = next(arm for arm in report_of(study)["arms"] if arm["name"] == "shuffled")
    for name, figure in entry["lists"].items():
        for side, arm, iteration in (("value", "shuffled", entry["iteration"]), ("base", "base", 0)):
            of_seeds = [_figures(study, arm, seed)[iteration][name] for seed in SEEDS]
            assert figure[side] == pytest.approx(sum(of_seeds) / len(SEEDS))


def _figures(study: Any, arm: str, seed: int) -> tuple[dict[str, float], ...]:
    kept = read_lists(study.store, cell_named(study, arm, seed))
    assert kept is not None
    return kept.iterations


def test_a_cell_without_lists_gets_them_from_the_same_call_and_its_run_stays(tmp_path: Path) -> None:
    study = copy_of_study(tmp_path / "study")
    cell = cell_named(study, "rsir")
    before, models = read_lists(study.store, cell), models_digest([study.run_store(cell)])
    study.store.delete(f"lists/{cell.key}.json")
    assert next(arm for arm in report_of(study)["arms"] if arm["name"] == "rsir")["lists"]  # of the other seed
    bring_to_end(study, SEEDS, InProcess(study.store.root))
    assert read_lists(study.store, cell) == before
    assert models_digest([study.run_store(cell)]) == models


def test_lists_come_along_with_another_machine_s_cells(tmp_path: Path) -> None:
    study = begin(tmp_path / "study", study_file())
    add_cells(study, finished_study())
    assert all(study.is_made(cell) for cell in study.cells())


def test_large_cells_go_without_lists() -> None:
    study = finished_study()
    cell, file = cell_named(study, "rsir"), study.file
    settings = file.model_copy(update={"cell": file.cell.model_copy(update={"where": "ray"})})
    record = study.record.model_copy(update={"file": settings})
    without = type(study)(study.store, record)
    assert without.is_made(cell)
