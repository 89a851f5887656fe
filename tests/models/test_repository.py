"""An iteration has the model that was published first, and weights that are not its own are refused."""

import json
from pathlib import Path

import pytest

from rsir_scale.config.file import resolve
from rsir_scale.errors import IntegrityError
from rsir_scale.models.checkpoint import build_backbone, copy_weights, describe
from rsir_scale.models.repository import load_trained, publish_weights
from rsir_scale.runs import layout
from rsir_scale.runs.run import Run
from rsir_scale.runs.trained import TrainedModel, has_model, publish_model, read_model
from rsir_scale.storage.base import Store
from rsir_scale.storage.opening import open_store
from tests.loop.tiny_run import tiny_dataset
from tests.models.stored import weights_bytes

CONFIG = resolve(
    {
        "data": {"path": str(tiny_dataset().path), "max_length": 5},
        "model": {"width": 4, "blocks": 1, "heads": 2, "feed_forward": 4},
    }
)
DESCRIPTION = describe(CONFIG, tiny_dataset())


def _run(store: Store) -> Run:
    return Run(store, tiny_dataset(), CONFIG)


def _publish(store: Store, *, seed: int, attempt: str, shard_bytes: int = 1 << 20) -> TrainedModel:
    tensors = copy_weights(build_backbone(DESCRIPTION, seed=seed))
    weights = publish_weights(store, 1, tensors, attempt=attempt, shard_bytes=shard_bytes)
    return publish_model(
        store,
        1,
        TrainedModel(
            description=DESCRIPTION, weights=weights, updates=9, best_update=6, validation_score=0.25, train_s=1.5
        ),
    )


def test_a_published_model_comes_back_in_evaluation_mode(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    assert not has_model(store, 1)
    published = _publish(store, seed=1, attempt="a")
    assert has_model(store, 1)
    assert read_model(store, 1) == published
    loaded = load_trained(_run(store), 1)
    assert not loaded.training
    assert weights_bytes(loaded) == weights_bytes(build_backbone(DESCRIPTION, seed=1))


def test_the_model_published_first_stays(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    first = _publish(store, seed=1, attempt="a")
    assert _publish(store, seed=2, attempt="b") == first
    assert weights_bytes(load_trained(_run(store), 1)) == weights_bytes(build_backbone(DESCRIPTION, seed=1))


def test_changed_weights_are_refused_by_name(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    key = _publish(store, seed=1, attempt="a").weights[0].key
    data = bytearray(store.read(key))
    data[-1] ^= 1
    (tmp_path / key).write_bytes(bytes(data))
    with pytest.raises(IntegrityError, match=r"weights-00000\.a\.safetensors has SHA-256"):
        load_trained(_run(store), 1)


def test_an_iteration_without_a_model_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match=r"model\.json"):
        load_trained(_run(open_store(tmp_path)), 0)


def test_a_model_in_many_files_is_the_same_model_and_lacks_none(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    published = _publish(store, seed=1, attempt="a", shard_bytes=40)
    assert len(published.weights) > 10
    assert weights_bytes(load_trained(_run(store), 1)) == weights_bytes(build_backbone(DESCRIPTION, seed=1))
    for left_out in range(len(published.weights)):
        kept = tuple(entry for place, entry in enumerate(published.weights) if place != left_out)
        (tmp_path / layout.model(1)).write_bytes(published.model_copy(update={"weights": kept}).to_bytes())
        with pytest.raises(IntegrityError, match=r"missing|do not fit"):
            load_trained(_run(store), 1)


def test_a_record_of_the_first_version_with_one_weights_file_is_read(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    published = _publish(store, seed=1, attempt="a")
    old = json.loads(published.to_bytes())
    (old["weights"],) = old["weights"]
    (tmp_path / layout.model(1)).write_text(json.dumps(old))
    assert read_model(store, 1) == published
