"""The chain of manifests: written once, by the holder, and broken by any change."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsir_scale.errors import IntegrityError, ResumableError
from rsir_scale.runs import layout
from rsir_scale.runs.lease import Lease
from rsir_scale.runs.lineage import training_files
from rsir_scale.runs.manifest import (
    Extension,
    Manifest,
    combined_digest,
    manifest_sha256,
    read_chain,
    read_manifest,
    write_extension,
)
from rsir_scale.storage.base import Store
from rsir_scale.storage.opening import open_store
from tests.runs.world import ZERO, commit_shards, dataset, finish, generate, planned, settled


def _run(folder: Path) -> Store:
    store = open_store(folder)
    with Lease(store) as lease:
        generate(store, lease)
        finish(store, lease, 1)
    return store


def _change(store: Store, number: int, **fields: object) -> None:
    key = layout.model_link(number)
    store.put(key, json.dumps(json.loads(store.read(key)) | fields, sort_keys=True).encode())


def test_written_manifest_reads_back_and_names_its_parent(tmp_path: Path) -> None:
    store = _run(tmp_path)
    chain = read_chain(store)
    assert [manifest.iteration for manifest in chain] == [0, 1]
    assert chain[0].parent_sha256 is None
    assert chain[1].parent_sha256 == manifest_sha256(store, 0)
    assert read_manifest(store, 1) == chain[1]
    assert Manifest.from_bytes(chain[1].to_bytes(), "copy") == chain[1]


def test_a_manifest_that_is_gone_before_another_one_breaks_the_chain(tmp_path: Path) -> None:
    store = _run(tmp_path)
    store.delete(layout.model_link(0))
    with pytest.raises(IntegrityError, match=r"iteration=000/MANIFEST\.json is missing, and the one after it is there"):
        read_chain(store)


def test_changed_parent_breaks_the_chain(tmp_path: Path) -> None:
    store = _run(tmp_path)
    _change(store, 0, facts=["nothing happened"])
    with pytest.raises(IntegrityError, match="names parent"):
        read_chain(store)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"iteration": 5}, "of iteration 5"),
        ({"config_fingerprint": "1" * 64}, "other settings"),
        ({"dataset_fingerprint": "other"}, "other settings or other data"),
        ({"format_version": 99}, "format_version 99"),
        ({"surprise": 1}, "surprise"),
        (
            {"files": [{"key": "../../etc/passwd", "kind": "part", "sha256": ZERO, "bytes": 1}]},
            "not the iteration's own",
        ),
    ],
)
def test_manifest_that_cannot_be_right_is_refused(tmp_path: Path, fields: dict[str, object], message: str) -> None:
    store = _run(tmp_path)
    _change(store, 1, **fields)
    with pytest.raises(IntegrityError, match=message) as caught:
        read_chain(store)
    assert caught.value.exit_code == 4


@given(st.binary(max_size=60) | st.text(alphabet='{}[]":,0a', max_size=40).map(str.encode))
def test_any_bytes_are_a_manifest_or_an_integrity_error(data: bytes) -> None:
    with pytest.raises(IntegrityError, match=r"MANIFEST\.json"):
        Manifest.from_bytes(data, "MANIFEST.json")


def test_second_manifest_of_an_iteration_is_refused(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with Lease(store) as lease:
        finish(store, lease, 0)
        with pytest.raises(ResumableError, match="finished by another driver"):
            finish(store, lease, 0, metrics={"other": 1.0})


def test_driver_that_was_succeeded_writes_no_manifest(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with Lease(store) as lease:
        store.create(layout.lease(1), b"the next driver")
        with pytest.raises(ResumableError, match="another driver took this run over"):
            finish(store, lease, 0)
    assert not store.exists(layout.model_link(0))


def test_digest_is_of_content_and_none_before_there_is_any(tmp_path: Path) -> None:
    assert combined_digest(read_chain(open_store(tmp_path / "new"))) is None
    first, second = (combined_digest(read_chain(_run(tmp_path / name))) for name in ("a", "b"))
    assert first == second
    assert first is not None


def test_raised_iterations_extend_the_last_manifest(tmp_path: Path) -> None:
    store = open_store(tmp_path / "raised")
    with Lease(store) as lease:
        finish(store, lease, 0)
        plan = planned(store)
        commit_shards(store, plan, "a", plan.shards)
        generation, files = settled(store, plan, attempt="a")
        extension = Extension(
            iteration=0,
            parent_sha256=manifest_sha256(store, 0),
            files=tuple(files),
            generation=generation,
            timings={"generate_s": 1.0},
            facts=("extended",),
        )
        write_extension(store, extension, lease)
        finish(store, lease, 1)
    chain = read_chain(store)
    assert chain[0].generation == generation
    assert chain[0].facts == ("extended",)
    assert len(training_files(store, dataset(), 1)) > len(training_files(store, dataset(), 0))
    assert combined_digest(chain) == combined_digest(read_chain(_run(tmp_path / "plain")))

    key = layout.generation_link(0)
    store.put(key, json.dumps(json.loads(store.read(key)) | {"facts": []}).encode())
    with pytest.raises(IntegrityError, match="names parent"):
        read_chain(store)
    store.put(key, json.dumps(json.loads(store.read(key)) | {"parent_sha256": ZERO}).encode())
    with pytest.raises(IntegrityError, match="does not continue"):
        read_chain(store)
