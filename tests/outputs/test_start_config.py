"""A first config: it loads, fits its dataset, and leaves files alone."""

from dataclasses import replace
from pathlib import Path

import pytest

from rsir_scale.config.file import load_config
from rsir_scale.errors import InputError
from rsir_scale.loop.preflight import check_settings
from rsir_scale.outputs.start_config import LARGEST_FOR_FULL_SOFTMAX, sizes_for, start_config, write_start_config
from tests.loop.tiny_run import tiny_dataset


def test_a_first_config_can_be_run_on_its_dataset(tmp_path: Path) -> None:
    write_start_config(tiny_dataset(), tmp_path / "my config.yaml")
    config = load_config(tmp_path / "my config.yaml")
    check_settings(config, tiny_dataset())
    assert config.data.path == tiny_dataset().path
    assert config.training.loss == "cross_entropy"
    assert "rsir run '" in (tmp_path / "my config.yaml").read_text()


def test_a_large_catalogue_has_a_loss_that_does_not_grow_with_it(tmp_path: Path) -> None:
    meta = tiny_dataset().meta.model_copy(update={"items": LARGEST_FOR_FULL_SOFTMAX + 1})
    (tmp_path / "large.yaml").write_text(start_config(replace(tiny_dataset(), meta=meta), tmp_path / "large.yaml"))
    training = load_config(tmp_path / "large.yaml").training
    assert (training.loss, training.item_updates) == ("sampled_softmax", "sparse")


def test_without_a_dataset_the_path_is_left_to_be_filled_in(tmp_path: Path) -> None:
    write_start_config(None, tmp_path / "mine.yaml")
    assert load_config(tmp_path / "mine.yaml").data.path == "data/mine"


@pytest.mark.parametrize(("users", "batch_size"), [(60, 32), (19_412, 256), (10**7, 512)])
def test_a_pass_has_some_forty_updates_or_more(users: int, batch_size: int) -> None:
    assert sizes_for(tiny_dataset().meta.model_copy(update={"users": users})).batch_size == batch_size


def test_a_file_that_is_there_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("mine")
    with pytest.raises(InputError, match="is there already"):
        write_start_config(tiny_dataset(), tmp_path / "mine.yaml")
    assert (tmp_path / "mine.yaml").read_text() == "mine"
