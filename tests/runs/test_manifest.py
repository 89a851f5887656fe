"""The chain of manifests: written once, by the holder, and broken by any change."""

import json
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsir_scale.errors import IntegrityError, ResumableError
from rsir_scale.runs import layout
from rsir_scale.runs.lease import Lease
from rsir_scale.runs.lineage import training_files
from rsir_scale.runs.manifest import GenerationLink, Manifest, ModelLink, combined_digest, read_chain, read_manifest
from rsir_scale.storage.base import ObjectMissingError, Store, sha256_of
from rsir_scale.storage.opening import open_store
from tests.runs.world import ZERO, close, commit_shards, finish, generate, planned, run_in, settled


def _run(folder: Path) -> Store:
    store = open_store(folder)
    with Lease(store) as lease:
        generate(store, lease)
        finish(store, lease, 1)
    return store


def _change(store: Store, key: str, **fields: object) -> None:
    store.put(key, json.dumps(json.loads(store.read(key)) | fields, sort_keys=True).encode())


# The chain of `_run`.
LINKS = (layout.model_link(0), layout.generation_link(0), layout.model_link(1))


def test_written_links_read_back_and_name_the_link_before(tmp_path: Path) -> None:
    store = _run(tmp_path)
    first, second = read_chain(store)
    assert (first.iteration, second.iteration) == (0, 1)
    assert first.written is not None
    assert second.written is None
    parents = [link.parent_sha256 for link in (first.model, first.written, second.model)]
    assert parents == [None, *(sha256_of(store, key)[0] for key in LINKS[:2])]
    assert [read_manifest(store, 0), read_manifest(store, 1)] == [first, second]
    assert ModelLink.from_bytes(second.model.to_bytes(), "copy") == second.model


@pytest.mark.parametrize("missing", LINKS[:2])
def test_a_link_that_is_gone_before_another_one_breaks_the_chain(tmp_path: Path, missing: str) -> None:
    store = _run(tmp_path)
    store.delete(missing)
    with pytest.raises(IntegrityError, match=f"{missing} is missing, and a later one"):
        read_chain(store)


def test_an_iteration_that_is_gone_whole_breaks_the_chain(tmp_path: Path) -> None:
    store = _run(tmp_path)
    for key in LINKS[:2]:
        store.delete(key)
    with pytest.raises(IntegrityError, match=f"{LINKS[0]} is missing, and a later one, {LINKS[2]},"):
        read_chain(store)


@pytest.mark.parametrize(("changed", "child"), [*pairwise(LINKS)])
def test_a_changed_link_breaks_the_chain(tmp_path: Path, changed: str, child: str) -> None:
    store = _run(tmp_path)
    _change(store, changed, facts=["nothing happened"])
    with pytest.raises(IntegrityError, match=f"{child} names parent"):
        read_chain(store)


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"iteration": 5}, "of iteration 5"),
        ({"parent_sha256": ZERO}, f"names parent {ZERO}"),
        ({"format_version": 99}, "format_version 99"),
        ({"surprise": 1}, "surprise"),
        (
            {"files": [{"key": "../../etc/passwd", "kind": "part", "sha256": ZERO, "bytes": 1}]},
            "not the iteration's own",
        ),
    ],
)
def test_a_link_that_cannot_be_right_is_refused(
    tmp_path: Path, link: str, fields: dict[str, object], message: str
) -> None:
    store = _run(tmp_path)
    _change(store, link, **fields)
    with pytest.raises(IntegrityError, match=message) as caught:
        read_chain(store)
    assert caught.value.exit_code == 4
    assert link in str(caught.value)


@pytest.mark.parametrize("fields", [{"config_fingerprint": "1" * 64}, {"dataset_fingerprint": "other"}])
def test_a_model_of_other_settings_or_data_is_refused(tmp_path: Path, fields: dict[str, object]) -> None:
    store = _run(tmp_path)
    _change(store, LINKS[2], **fields)
    with pytest.raises(IntegrityError, match=f"{LINKS[2]} belongs to other settings or other data"):
        read_chain(store)


@given(st.binary(max_size=60) | st.text(alphabet='{}[]":,0a', max_size=40).map(str.encode))
def test_any_bytes_are_a_manifest_or_an_integrity_error(data: bytes) -> None:
    for kind in (ModelLink, GenerationLink):
        with pytest.raises(IntegrityError, match=r"MANIFEST\.json"):
            kind.from_bytes(data, "MANIFEST.json")


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


def test_a_run_that_ended_goes_on_with_the_link_of_a_generation(tmp_path: Path) -> None:
    store = open_store(tmp_path / "raised")
    with Lease(store) as lease:
        ended = finish(store, lease, 0)
        assert (ended.written, ended.generation, read_chain(store)) == (None, None, [ended])
        plan = planned(store)
        commit_shards(store, plan, "a", plan.shards)
        generation, files = settled(store, plan, attempt="a")
        close(store, lease, 0, generation, files, facts=("another machine",))
        finish(store, lease, 1)
    chain = read_chain(store)
    assert (chain[0].model, chain[0].generation, chain[0].files) == (ended.model, generation, tuple(files))
    assert (chain[0].facts, chain[0].timings) == (("another machine",), {"train_s": 1.0, "generate_s": 2.0})
    assert len(training_files(run_in(store), 1)) > len(training_files(run_in(store), 0))
    assert combined_digest(chain) == combined_digest(read_chain(_run(tmp_path / "plain")))


def test_no_model_comes_after_an_iteration_that_wrote_nothing(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with Lease(store) as lease:
        finish(store, lease, 0)
        with pytest.raises(ObjectMissingError, match=r"iteration=000/generation/MANIFEST\.json"):
            finish(store, lease, 1)


def test_a_fact_that_both_links_name_is_told_once() -> None:
    model = ModelLink.model_construct(facts=("slow", "old"))
    written = GenerationLink.model_construct(facts=("old", "odd"))
    assert Manifest(model, written).facts == ("slow", "old", "odd")
