"""Tensors come back bit for bit from objects of any size, and none of these may be missing, foreign or changed."""

from tempfile import mkdtemp

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from rsir_scale.errors import IntegrityError
from rsir_scale.models.shards import assemble, read_pieces, write_shards
from rsir_scale.runs.records import FileEntry
from rsir_scale.storage.base import Store
from rsir_scale.storage.opening import open_store

SHAPES = st.lists(st.lists(st.integers(0, 5), max_size=3), min_size=1, max_size=4)


def _written(tensors: dict[str, Tensor], shard_bytes: int) -> tuple[Store, tuple[FileEntry, ...]]:
    store = open_store(mkdtemp(prefix="rsir-test-"))
    entries = write_shards(store, tensors, key=lambda part: f"t{part}", kind="weights", shard_bytes=shard_bytes)
    return store, entries


@given(shapes=SHAPES, shard_bytes=st.integers(1, 200))
def test_any_tensors_come_back_from_objects_of_any_size(shapes: list[list[int]], shard_bytes: int) -> None:
    draws = torch.Generator().manual_seed(len(shapes))
    tensors = {f"t/{place}": torch.randn(shape, generator=draws) for place, shape in enumerate(shapes)}
    store, entries = _written(tensors, shard_bytes)
    found = assemble(read_pieces(store, entries))
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())
    widest = max((4 * tensor[:1].numel() for tensor in tensors.values() if tensor.dim()), default=4)
    assert all(_values(store, entry) <= max(shard_bytes, widest, 4) for entry in entries)


def _values(store: Store, entry: FileEntry) -> int:
    data = store.read(entry.key)
    return len(data) - 8 - int.from_bytes(data[:8], "little")


def test_a_tensor_of_many_rows_goes_into_the_place_that_is_given() -> None:
    table = torch.arange(60.0).reshape(20, 3)
    store, entries = _written({"table": table}, 40)
    assert len(entries) == 7
    place = torch.zeros(20, 3)
    assert assemble(read_pieces(store, entries), into={"table": place})["table"] is place
    assert torch.equal(place, table)


@pytest.mark.parametrize("shard_bytes", [40, 1000])
def test_a_tensor_under_two_names_comes_back_under_both(shard_bytes: int) -> None:
    table = torch.arange(60.0).reshape(20, 3)
    store, entries = _written({"items": table, "out": table, "half": table[10:]}, shard_bytes)
    found = assemble(read_pieces(store, entries))
    assert torch.equal(found["items"], table)
    assert torch.equal(found["out"], table)
    assert torch.equal(found["half"], table[10:])


@pytest.mark.parametrize("left_out", [0, 3, 6])
def test_an_object_that_is_missing_from_the_list_is_noticed(left_out: int) -> None:
    store, entries = _written({"table": torch.ones(20, 3)}, 40)
    with pytest.raises(IntegrityError, match="missing"):
        assemble(read_pieces(store, [entry for place, entry in enumerate(entries) if place != left_out]))


def test_objects_in_another_order_or_of_another_shape_are_refused() -> None:
    store, entries = _written({"table": torch.ones(20, 3)}, 40)
    with pytest.raises(IntegrityError, match="goes on at row"):
        assemble(read_pieces(store, entries[::-1]))
    with pytest.raises(IntegrityError, match="goes on at row"):
        assemble(read_pieces(store, entries), into={"table": torch.ones(19, 3)})


def test_a_changed_object_is_refused_before_anything_of_it_is_given() -> None:
    store, entries = _written({"table": torch.ones(20, 3)}, 40)
    data = bytearray(store.read(entries[2].key))
    data[-1] ^= 1
    store.put(entries[2].key, bytes(data))
    pieces = read_pieces(store, entries)
    assert [next(pieces).first, next(pieces).first] == [0, 3]
    with pytest.raises(IntegrityError, match="t2 has SHA-256"):
        next(pieces)
