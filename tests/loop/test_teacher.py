"""A teacher writes what it would have written in its own run, and may go; another one, or a bad one, is refused."""

import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import polars as pl
import pytest
import torch

from rsir_scale.config.file import resolve
from rsir_scale.config.settings import Config
from rsir_scale.data.dataset import PreparedDataset, open_dataset
from rsir_scale.data.prepare import prepare
from rsir_scale.errors import ConfigError, InputError, IntegrityError, RsirError
from rsir_scale.loop.local import LocalPhases
from rsir_scale.loop.outline import outline
from rsir_scale.loop.preflight import Node
from rsir_scale.loop.recursion import run_recursion
from rsir_scale.models.repository import load_trained, load_writing_model, publish_weights
from rsir_scale.models.shards import assemble, read_pieces
from rsir_scale.runs import layout
from rsir_scale.runs.begun import read_config, stored_run
from rsir_scale.runs.lineage import committed_files, load
from rsir_scale.runs.manifest import read_chain
from rsir_scale.runs.open_run import open_run
from rsir_scale.runs.teacher import read_teacher
from rsir_scale.runs.trained import read_model
from rsir_scale.storage.base import Store
from rsir_scale.storage.opening import open_store
from rsir_scale.verification.verify import verify
from tests.loop.tiny_run import interactions, tiny_dataset, tiny_run


def _config(teacher: str | None, dataset: PreparedDataset | None = None, **sections: dict[str, object]) -> Config:
    """A student of width 24, otherwise as the tiny run, whose model has width 16."""
    base = tiny_run().config.model_dump(mode="json")
    base["model"] |= {"width": 24, "feed_forward": 24}
    base["generation"] |= {"teacher": teacher}
    base["loop"] |= {"iterations": 2}
    base["data"]["path"] = str((dataset or tiny_dataset()).path)
    for section, changes in sections.items():
        base[section] |= changes
    return resolve(base)


def _run(store: Store, config: Config, dataset: PreparedDataset | None = None) -> None:
    data = dataset or tiny_dataset()
    with open_run(store, config, data) as run:
        run_recursion(run, LocalPhases())


@cache
def _taught() -> tuple[Path, Path]:
    """A copy of the tiny run, as teacher, and a student of its theta_0. Not to be changed."""
    folder = Path(mkdtemp(prefix="rsir-test-"))
    shutil.copytree(tiny_run().path, folder / "teacher")
    _run(open_store(folder / "student"), _config(f"{folder / 'teacher'}@0"))
    return folder / "teacher", folder / "student"


def _copied(tmp_path: Path) -> tuple[Path, Path]:
    for folder in _taught():
        shutil.copytree(folder, tmp_path / folder.name)
    return tmp_path / "teacher", tmp_path / "student"


def _rows(store: Store, iteration: int) -> tuple[list[int], list[list[int]]]:
    sequences = load(stored_run(store), committed_files(store, iteration))
    return sequences.ids.tolist(), [sequences.row(row).tolist() for row in range(len(sequences))]


def test_a_teacher_writes_from_the_same_data_and_seed_what_it_wrote_in_its_own_run() -> None:
    teacher, student = map(open_store, _taught())
    assert _rows(student, 0) == _rows(teacher, 0)
    assert len(_rows(student, 0)[0]) > 20
    # From the same D_1, the teacher's own run goes on with its theta_1, and the student's with its theta_0.
    assert _rows(student, 1) != _rows(teacher, 1)
    assert load_trained(stored_run(student), 1).width == 24
    assert load_writing_model(stored_run(student), 1).width == 16


def test_every_manifest_names_the_teacher_and_the_run_is_verified_without_the_teachers_own(tmp_path: Path) -> None:
    _, folder = _copied(tmp_path)
    student = open_store(folder)
    named = read_teacher(student)
    assert named is not None
    assert [manifest.model.teacher for manifest in read_chain(student)] == [named] * 3
    trained = read_model(open_store(_taught()[0]), 0)
    assert (named.weights_sha256, named.description) == (trained.weights[0].sha256, trained.description)
    assert (named.run, named.iteration) == (str(_taught()[0]), 0)
    # Gone for as long as the check takes: other tests read it.
    _taught()[0].rename(tmp_path / "away")
    try:
        report = verify(stored_run(student))
    finally:
        (tmp_path / "away").rename(_taught()[0])
    assert (report.faults, report.rows) == ((), report.rows_rechecked)
    assert report.rows > 20


def test_rows_held_to_the_students_own_model_would_fail(tmp_path: Path) -> None:
    _, folder = _copied(tmp_path)
    own = read_model(open_store(folder), 0)
    path = folder / layout.TEACHER
    teacher = read_teacher(open_store(folder))
    assert teacher is not None
    path.write_bytes(teacher.model_copy(update={"description": own.description, "weights": own.weights}).to_bytes())
    assert not verify(stored_run(open_store(folder))).ok


@pytest.mark.parametrize("what", ["record", "weights"])
def test_a_changed_byte_or_a_missing_copy_of_the_teacher_is_one_named_fault(tmp_path: Path, what: str) -> None:
    _, folder = _copied(tmp_path)
    teacher = read_teacher(open_store(folder))
    assert teacher is not None
    key = layout.TEACHER if what == "record" else teacher.weights[0].key
    data = bytearray((folder / key).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / key).write_bytes(bytes(data))
    assert {fault.file for fault in verify(stored_run(open_store(folder))).faults} == {key}
    (folder / key).unlink()
    assert {fault.file for fault in verify(stored_run(open_store(folder))).faults} == {key}
    if what == "record":
        with pytest.raises(IntegrityError, match=r"teacher\.json is missing"):
            load_writing_model(stored_run(open_store(folder)), 0)


def _begun(tmp_path: Path, teacher: str | None) -> Store:
    store = open_store(tmp_path / "run")
    with open_run(store, _config(teacher), tiny_dataset()):
        pass
    return store


def _refused(store: Store, config: Config, error: type[RsirError], match: str) -> None:
    """The call is refused with exit code 2, and nothing is written."""
    before = {key: store.read(key) for key in store.list("")}
    with pytest.raises(error, match=match) as caught, open_run(store, config, tiny_dataset()):
        pass
    assert caught.value.exit_code == 2
    assert {key: store.read(key) for key in store.list("")} == before


def test_a_resume_takes_the_same_teacher_from_anywhere_and_refuses_another(tmp_path: Path) -> None:
    teacher = tmp_path / "teacher"
    shutil.copytree(tiny_run().path, teacher)
    store = _begun(tmp_path, f"{teacher}@1")
    # Settled to one iteration of one path, so that it stays the same when the teacher's run goes on.
    assert read_config(store).generation.teacher == f"{teacher}@1"
    shutil.copytree(teacher, tmp_path / "moved")
    for same in (f"{teacher}@1", f"{tmp_path / 'moved'}@1"):
        with open_run(store, _config(same), tiny_dataset()) as run:
            assert run.config.generation.teacher == f"{teacher}@1"
    _refused(store, _config(f"{teacher}@0"), ConfigError, r"was begun with the teacher .*@1 .*@0 has weights with SHA")
    _refused(store, _config(None), ConfigError, "generation.teacher names none")
    shutil.rmtree(teacher)
    for gone in (f"{teacher}@1", str(teacher)):
        with open_run(store, _config(gone), tiny_dataset()):
            pass
    _refused(store, _config(f"{teacher}@0"), InputError, "is no run")
    without = _begun(tmp_path / "other", None)
    _refused(without, _config(f"{tmp_path / 'moved'}@1"), ConfigError, "begun without a teacher")


def test_without_an_iteration_the_teachers_best_by_validation_is_taken(tmp_path: Path) -> None:
    scores = [manifest.metrics["validation/NDCG@20"] for manifest in read_chain(tiny_run().store)]
    store = _begun(tmp_path, str(tiny_run().path))
    teacher = read_teacher(store)
    assert teacher is not None
    assert teacher.iteration == scores.index(max(scores))


def _damaged(teacher: Path) -> None:
    key = read_model(open_store(teacher), 1).weights[0].key
    data = bytearray((teacher / key).read_bytes())
    data[-1] ^= 1
    (teacher / key).write_bytes(bytes(data))


def _without_weights(teacher: Path) -> None:
    (teacher / read_model(open_store(teacher), 1).weights[0].key).unlink()


def _no_number(teacher: Path) -> None:
    store = open_store(teacher)
    model = read_model(store, 1)
    tensors = assemble(read_pieces(store, model.weights))
    tensors["items.weight"][3, 1] = torch.nan
    weights = publish_weights(store, 1, tensors, attempt=layout.new_attempt())
    (teacher / layout.model(1)).write_bytes(model.model_copy(update={"weights": weights}).to_bytes())


def _torn(teacher: Path) -> None:
    (teacher / layout.model(1)).write_bytes(b"{")


def _unfinished(teacher: Path) -> None:
    (teacher / layout.model(1)).unlink()


@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        (_damaged, "has SHA-256 .* restore it, or name another teacher"),
        (_without_weights, "is missing: restore it"),
        (_no_number, "NaN or infinity in .*'items.weight'"),
        (_torn, "is damaged: .*model.json"),
        (_unfinished, r"iteration 1 has no model; iterations 0\.\.0 have"),
        (shutil.rmtree, "is no run: name a run directory"),
    ],
)
def test_a_teacher_that_cannot_write_is_refused_before_anything_is_written(
    tmp_path: Path, spoil: Callable[[Path], None], match: str
) -> None:
    teacher = tmp_path / "teacher"
    shutil.copytree(tiny_run().path, teacher)
    spoil(teacher)
    config = _config(f"{teacher}@1")
    _refused(open_store(tmp_path / "run"), config, InputError, match)
    assert not (tmp_path / "run").exists()
    with pytest.raises(InputError, match=match):
        outline(config, tiny_dataset(), [Node(cpus=4, gpus=0)])


def test_a_teacher_that_reads_less_than_the_run_is_refused(tmp_path: Path) -> None:
    config = _config(f"{tiny_run().path}@0", data={"max_length": 9})
    _refused(open_store(tmp_path / "run"), config, ConfigError, "reads 8 items of a context, .*data.max_length=9")


@cache
def _other_market(change: str) -> PreparedDataset:
    """The tiny market with a user renamed, with one item renamed, or with one item more."""
    rows = interactions(with_times=True)
    if change == "users":
        rows = [("u59a" if user == "u59" else user, item, time) for user, item, time in rows]
    if change == "renamed":
        rows = [(user, "999" if item == "110" else item, time) for user, item, time in rows]
    if change == "more":
        rows.append(("u3", "999", 10.0**6))
    folder = Path(mkdtemp(prefix="rsir-test-")) / "market"
    schema = {"user_id": pl.String, "item_id": pl.String, "time": pl.Float64}
    frame = pl.DataFrame(rows, schema=schema, orient="row").with_row_index("order")
    prepare(frame.with_columns(pl.col("order").cast(pl.Int64)).lazy(), folder, min_count=0)
    return open_dataset(folder)


@pytest.mark.parametrize(
    ("change", "match"), [("more", "knows 30 items, .* has 31"), ("renamed", "of 30 differ, first")]
)
def test_a_teacher_of_another_vocabulary_is_refused_naming_the_difference(
    tmp_path: Path, change: str, match: str
) -> None:
    dataset = _other_market(change)
    config = _config(f"{tiny_run().path}@0", dataset)
    with pytest.raises(InputError, match=match) as caught, open_run(open_store(tmp_path / "run"), config, dataset):
        pass
    if change == "renamed":
        place = int(np.flatnonzero(dataset.item_ids() != tiny_dataset().item_ids())[0])
        assert f"item_index {place + 1}, which is {tiny_dataset().item_ids()[place]!r} there" in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_teacher_of_other_data_with_the_same_items_is_taken_and_the_difference_is_a_recorded_fact(
    tmp_path: Path,
) -> None:
    dataset = _other_market("users")
    assert dataset.meta.fingerprint != tiny_dataset().meta.fingerprint
    with open_run(open_store(tmp_path / "run"), _config(f"{tiny_run().path}@0", dataset), dataset) as run:
        assert ["trained on other data" in fact for fact in run.facts] == [True]


def test_a_plan_names_the_teacher() -> None:
    described = outline(_config(f"{tiny_run().path}@0"), tiny_dataset(), [Node(cpus=4, gpus=0)])
    assert described["teacher"] == {
        "model": f"{tiny_run().path}@0",
        "width": 16,
        "sha256": read_model(tiny_run().store, 0).weights[0].sha256,
    }
