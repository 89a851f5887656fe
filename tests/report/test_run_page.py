"""The page of a run: its figures are the run's, and it is refused for what is damaged or not finished."""

from pathlib import Path

import numpy as np
import pytest

from rsir_scale.errors import InputError, IntegrityError
from rsir_scale.report.accuracy import segments
from rsir_scale.report.blocks import Example, Figure, Section, Table
from rsir_scale.report.examples import examples
from rsir_scale.report.finished import finished_run
from rsir_scale.report.origin import origin, phase_seconds
from rsir_scale.report.run_page import run_page
from rsir_scale.report.writing import written
from rsir_scale.runs import layout
from rsir_scale.runs.lineage import committed_files, load, training_files
from rsir_scale.runs.manifest import read_chain
from tests.loop.tiny_run import TinyRun, tiny_run

FINISHED = finished_run(tiny_run().store)


def table(section: Section, title: str = "") -> Table:
    return next(block for block in section.blocks if isinstance(block, Table) and block.title == title)


def figure(section: Section, name: str) -> Figure:
    return next(block for block in section.blocks if isinstance(block, Figure) and block.name == name)


def test_the_verdict_stands_on_top() -> None:
    page = run_page(tiny_run().store)
    assert tuple(claim.text for claim in page.claims) == FINISHED.verdict.sentences
    assert page.claims[-1].tone == "warning"


def test_what_was_written_is_what_the_manifests_count() -> None:
    section = written(FINISHED)
    rows = {row[0]: row[1:] for row in table(section).rows}
    generations = [manifest.generation for manifest in FINISHED.written]
    assert rows["sequences kept"] == tuple(each.rows for each in generations)
    assert rows["duplicates dropped"] == tuple(each.dropped for each in generations)
    stops = figure(section, "stops").data
    for place, each in enumerate(generations):
        lost = each.counters["errors"] / each.counters["trials"]
        assert sum(trace["y"][place] for trace in stops) == pytest.approx(100 * (1 - lost))
    for trace in figure(section, "lengths").data:
        assert sum(trace["y"]) == pytest.approx(100)


def test_users_of_the_thirds_are_all_users_and_their_differences_make_up_the_whole() -> None:
    rows = [row for row in table(segments(FINISHED)).rows if str(row[0]).startswith("length/")]
    whole = FINISHED.verdict.compared[0].test
    users = np.array([row[1] for row in rows])
    gain = np.array([row[3] - row[2] for row in rows])
    assert float((users * gain).sum() / users.sum()) == pytest.approx(whole.mean)


def test_examples_are_kept_rows_of_the_last_generation_beside_their_sources() -> None:
    run, last = FINISHED.run, FINISHED.written[-1].iteration
    ids = [str(item) for item in run.dataset.item_ids()]
    shown = [block for block in examples(FINISHED, {ids[0]: "a title"}).blocks if isinstance(block, Example)]
    assert len(shown) == 10

    def named(items: object) -> tuple[str, ...]:
        return tuple("a title" if item == 1 else ids[item - 1] for item in items)  # type: ignore[attr-defined]

    kept, sources = load(run, committed_files(run.store, last)), load(run, training_files(run, last))
    rows = {named(kept.row(row)) for row in range(len(kept))}
    of_source = {named(sources.row(row)) for row in range(len(sources))}
    for example in shown:
        assert tuple(item.name for item in example.written) in rows
        assert tuple(item.name for item in example.source) in of_source
        assert all(bool(item.reason) == (item.kind in {"own", "new"}) for item in example.written)
        taken = {item.name for item in example.source}
        assert all((item.name in taken) == (item.kind != "new") for item in example.written)


def test_settings_that_differ_are_those_that_the_manifest_names() -> None:
    names = {row[0] for row in table(origin(FINISHED), "Settings that differ from the defaults").rows}
    assert names == set(FINISHED.manifests[-1].model.explicit)


def test_what_an_augmenter_learns_is_no_part_of_writing() -> None:
    taken = phase_seconds({"train_s": 3.0, "generate_s": 10.0, "learn_s": 4.0}, 1.0)
    assert taken == {"training": 3.0, "fitting the augmenter": 4.0, "evaluation": 1.0, "writing": 6.0}


def test_a_run_that_has_finished_nothing_is_refused(tmp_path: Path) -> None:
    run = tiny_run().copy_to(tmp_path / "run")
    for manifest in (tmp_path / "run").glob("iteration=*/MANIFEST.json"):
        manifest.unlink()
    for manifest in (tmp_path / "run").glob("iteration=*/generation/MANIFEST.json"):
        manifest.unlink()
    with pytest.raises(InputError, match="has finished no iteration yet"):
        run_page(run.store)


def test_theta_0_alone_has_a_page(tmp_path: Path) -> None:
    run = tiny_run().copy_to(tmp_path / "run")
    for iteration in (1, 2):
        (run.path / layout.model_link(iteration)).unlink()
    for iteration in (0, 1):
        (run.path / layout.generation_link(iteration)).unlink()
    page = run_page(run.store)
    assert "Only theta_0 was trained" in page.claims[1].text


def changed(run: TinyRun, key: str) -> None:
    file = run.path / key
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


@pytest.mark.parametrize("kind", ["part", "dropped", "metrics", "model", "ranks", "plan"])
def test_one_changed_byte_is_refused_by_the_name_of_its_file(kind: str, tmp_path: Path) -> None:
    run = tiny_run().copy_to(tmp_path / "run")
    keys = [entry.key for manifest in read_chain(run.store) for entry in manifest.files if entry.kind == kind]
    changed(run, keys[0])
    with pytest.raises(IntegrityError, match=keys[0]):
        run_page(run.store)
