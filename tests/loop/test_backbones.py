"""Every backbone goes through the whole recursion: it trains, writes, trains again, and its rows verify clean."""

import sys
from pathlib import Path

import polars as pl
import pytest
import torch
import yaml
from torch import Tensor

from rsir_scale.cli.main import main
from rsir_scale.config.file import resolve
from rsir_scale.config.settings import Config
from rsir_scale.errors import ConfigError, InputError, IntegrityError
from rsir_scale.loop.local import LocalPhases
from rsir_scale.loop.outline import outline
from rsir_scale.loop.recursion import run_recursion
from rsir_scale.models.repository import load_trained
from rsir_scale.outputs.recommend import load_model
from rsir_scale.runs import layout
from rsir_scale.runs.begun import stored_run
from rsir_scale.runs.manifest import read_chain
from rsir_scale.runs.open_run import open_run
from rsir_scale.runs.trained import read_model
from rsir_scale.storage.opening import open_store
from rsir_scale.verification.verify import verify
from tests.loop.tiny_run import TinyRun, tiny_dataset, tiny_run
from tests.models.test_plugin import Plain
from tests.models.written import written_backbones

CODES = (("codebooks", 2), ("codebook_size", 8))
NAMED = {"cl4srec": (), "hstu": (), "semantic_id": CODES}
EVERY = [
    pytest.param("cl4srec", marks=pytest.mark.slow),
    "hstu",
    pytest.param("semantic_id", marks=pytest.mark.slow),
    pytest.param("GRU4Rec", marks=pytest.mark.slow),
    "FrequencyEncoder",
]


def _run(name: str) -> TinyRun:
    backbone = name if name in NAMED else written_backbones()[name]
    return tiny_run(model=(("backbone", backbone), *NAMED.get(name, ())))


@pytest.mark.parametrize("name", EVERY)
def test_a_run_writes_sequences_twice_and_verifies_clean(name: str) -> None:
    done = _run(name)
    report = verify(done)
    assert (report.ok, report.faults) == (True, ())
    manifests = read_chain(done.store)
    assert len(manifests) == 3
    assert all(m.generation is not None and m.generation.rows > 0 for m in manifests[:2])


@pytest.mark.parametrize("name", EVERY)
def test_a_finished_run_recommends(name: str) -> None:
    done = _run(name)
    item_ids = done.dataset.item_ids()
    (best,) = load_model(done.path, backbone=done.config.model.backbone).recommend([[item_ids[0], item_ids[1]]], top=5)
    assert len(best) == 5


@pytest.mark.parametrize("verb", ["resume", "verify", "evaluate", "recommend"])
def test_a_run_brings_no_class_along_that_its_reader_does_not_name(
    verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = _run("GRU4Rec").copy_to(tmp_path / "run")
    own = done.config.model.backbone
    named = done.config.model.model_copy(update={"backbone": "antigravity:Fly"})
    config = done.config.model_copy(update={"model": named}).model_dump(mode="json")
    (done.path / layout.RUN_CONFIG).write_text(yaml.safe_dump(config))
    more = {"evaluate": ["--iteration", "0"], "recommend": ["--out", str(tmp_path / "top.csv")]}.get(verb, [])
    for named_by_reader in ([], ["--backbone", own]):
        with pytest.raises(SystemExit) as end:
            main([verb, str(done.path), *more, *named_by_reader])
        assert end.value.code == 2
        assert "add --backbone antigravity:Fly (in Python backbone=…) if it is yours" in capsys.readouterr().err
    assert "antigravity" not in sys.modules
    assert not (tmp_path / "top.csv").exists()


def test_a_class_that_its_reader_names_is_imported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = _run("GRU4Rec")
    with pytest.raises(ConfigError, match="add --backbone written_gru4rec:GRU4Rec"):
        load_model(done.path)
    with pytest.raises(SystemExit) as end:
        main(["evaluate", str(done.path), "--iteration", "0", "--backbone", done.config.model.backbone])
    assert (end.value.code or 0) == 0, capsys.readouterr().err


def test_a_teachers_class_is_not_imported_where_the_settings_name_another(tmp_path: Path) -> None:
    config = _config().model_dump(mode="json")
    config["generation"] |= {"teacher": str(_run("GRU4Rec").path)}
    store = open_store(tmp_path / "run")
    with (
        pytest.raises(ConfigError, match=r"a class is imported only when model\.backbone names it"),
        open_run(store, resolve(config), tiny_dataset()),
    ):
        pass
    assert not list(store.list(""))


def test_items_have_codes_of_their_own_in_each_iteration() -> None:
    done = _run("semantic_id")
    rows = [load_trained(done, iteration).items.row_VM for iteration in range(2)]  # type: ignore[union-attr]
    assert not rows[0].equal(rows[1])  # type: ignore[arg-type, operator]


def _config(**model: object) -> Config:
    raw = {"data": {"path": str(tiny_dataset().path)}, "model": {"width": 8, **model}}
    return resolve({**raw, "training": {"max_epochs": 1, "negatives": 8}, "loop": {"iterations": 0}})


def _refused(config: Config, folder: Path, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        outline(config, tiny_dataset(), ())
    store = open_store(folder)
    with open_run(store, config, tiny_dataset()) as run, pytest.raises(error, match=said):
        run_recursion(run, LocalPhases())
    assert not store.exists(layout.model(0))
    assert not store.exists(layout.fit_state(layout.training(0)))


def test_a_class_that_cannot_work_is_refused_before_training(tmp_path: Path) -> None:
    config = _config(backbone="tests.models.test_plugin:LooksAhead")
    _refused(config, tmp_path, ConfigError, "it must not look ahead")


def test_a_class_without_a_row_for_each_item_is_refused_sparse_updates_before_training(tmp_path: Path) -> None:
    raw = _config(backbone="tests.models.test_plugin:Plain").model_dump(mode="json")
    raw["training"] |= {"item_updates": "sparse"}
    _refused(resolve(raw), tmp_path, ConfigError, "sparse changes the rows of single items, and Plain has none")


class Rotary(Plain):
    """Keeps a table of angles for the longest context so far, as many implementations do."""

    angles: Tensor | None = None

    def hidden(self, context_BL: Tensor) -> Tensor:
        if self.angles is None or len(self.angles) < context_BL.shape[1]:
            self.angles = torch.arange(context_BL.shape[1])[:, None] / 10.0
        return super().hidden(context_BL) * self.angles[: context_BL.shape[1]].cos()


def test_a_class_may_keep_a_table_from_validation_and_read_lists_of_options(tmp_path: Path) -> None:
    raw = _config(backbone=f"{__name__}:Rotary", options={"layers": [8, {"deep": [[1, 2]], "empty": {}}]}).model_dump()
    raw["training"] |= {"max_epochs": 2}
    raw["loop"] |= {"iterations": 1}
    store = open_store(tmp_path / "run")
    with open_run(store, resolve(raw), tiny_dataset()) as run:
        run_recursion(run, LocalPhases())
    assert read_chain(store)[1].model.settings["model.options"] == raw["model"]["options"]
    assert verify(stored_run(store)).ok
    other = raw | {"model": raw["model"] | {"options": {"layers": [8, {"deep": [[1, 3]], "empty": {}}]}}}
    with pytest.raises(ConfigError, match=r"model\.options"), open_run(store, resolve(other), tiny_dataset()):
        pass


def test_a_codebook_larger_than_the_catalogue_is_refused_before_training(tmp_path: Path) -> None:
    config = _config(backbone="semantic_id", codebook_size=31)
    _refused(config, tmp_path, ConfigError, r"model\.codebook_size=31 is more than")


def _vectors(folder: Path, items: int) -> Path:
    ids = tiny_dataset().item_ids().tolist()[:items]
    vectors = [[float(int(item) % 3), float(int(item) % 5), 1.0] for item in ids]
    pl.DataFrame({"item_id": ids, "vector": vectors}).write_parquet(folder / "vectors.parquet")
    return folder / "vectors.parquet"


def test_item_vectors_that_leave_an_item_out_are_refused_before_training(tmp_path: Path) -> None:
    config = _config(backbone="semantic_id", codebook_size=8, item_vectors=str(_vectors(tmp_path, 4)))
    _refused(config, tmp_path / "run", InputError, "no vector for 26 of 30 items")


def test_codes_are_made_from_the_items_vectors_that_the_config_names(tmp_path: Path) -> None:
    path = _vectors(tmp_path, 30)
    config = _config(backbone="semantic_id", codebooks=1, codebook_size=15, item_vectors=str(path))
    store = open_store(tmp_path / "run")
    with open_run(store, config, tiny_dataset()) as run:
        run_recursion(run, LocalPhases())
    path.unlink()
    code = load_trained(stored_run(store), 0).items.row_VM[1:, 0].tolist()  # type: ignore[union-attr, index]
    kinds = [(int(item) % 3, int(item) % 5) for item in tiny_dataset().item_ids()]
    # 15 kinds of items and 15 values: items of one kind have one code.
    assert len(set(zip(kinds, code, strict=True))) == 15


def test_a_model_that_names_another_class_than_the_runs_settings_is_not_imported(tmp_path: Path) -> None:
    done = _run("GRU4Rec").copy_to(tmp_path / "run")
    record = read_model(done.store, 0)
    named = record.description.model.model_copy(update={"backbone": "antigravity:Fly"})
    description = record.description.model_copy(update={"model": named})
    (done.path / layout.model(0)).write_bytes(record.model_copy(update={"description": description}).to_bytes())
    with pytest.raises(IntegrityError, match=r"names the class antigravity:Fly, which run\.yaml does not"):
        load_trained(done, 0)
