"""Insertion keeps the contract of an augmenter, and its table of neighbours is made once and held to its record."""

from typing import ClassVar

import pyarrow as pa
import pytest
import torch

from rsir_scale.augmenters import insertion, prepared
from rsir_scale.augmenters.insertion import TABLE
from rsir_scale.augmenters.neighbours import by_occurrence, by_vectors, larger, occurring
from rsir_scale.errors import IntegrityError
from rsir_scale.models.repository import load_trained
from rsir_scale.runs import layout
from tests.augmenters.contract import AugmenterContract
from tests.augmenters.rsir.worlds import IntegerBackbone
from tests.augmenters.world import World, make_world, some_rows

ITEMS = 12


class TestInsertion(AugmenterContract):
    name = "insertion"
    refused: ClassVar = [
        *({"rate": value} for value in (0, -0.1, 1.1, True, None)),
        *({"similarity": value} for value in ("cosine", "", None, 1)),
    ]


class TestInsertionByOccurrence(AugmenterContract):
    name = "insertion"
    options: ClassVar = {"similarity": "cooccurrence", "rate": 1.0}
    seeds: ClassVar = range(1)


class TestInsertionByVectors(AugmenterContract):
    name = "insertion"
    options: ClassVar = {"similarity": "embedding"}
    seeds: ClassVar = range(1)


def prepared_world(similarity: str = "larger", *, rows: list[list[int]] | None = None) -> World:
    world = make_world(
        rows or some_rows(1, items=ITEMS), items=ITEMS, augmenter="insertion", options={"similarity": similarity}
    )
    world.augmenter().prepare(world.plan)
    return world


@pytest.mark.parametrize("similarity", ["cooccurrence", "embedding", "larger"])
def test_the_table_has_the_neighbour_of_each_training_item_by_the_named_similarity(similarity: str) -> None:
    world = prepared_world(similarity)
    table = prepared.read_table(world.run.store, 0, TABLE)
    known = occurring(world.sources)
    vectors = load_trained(world.run, 0).item_vectors().detach().double().numpy()
    measures = {"cooccurrence": by_occurrence(world.sources), "embedding": by_vectors(known, vectors)}
    expected = measures.get(similarity) or larger(*measures.values())
    assert table.column("item_index").to_pylist() == known.tolist()
    assert table.column("neighbour").to_pylist() == expected.item_K.tolist()


def test_the_table_is_made_once() -> None:
    world = prepared_world()
    before = sorted(world.run.store.list(""))
    world.augmenter().prepare(world.plan)
    assert sorted(world.run.store.list("")) == before


def test_items_that_resemble_nothing_are_told_of() -> None:
    world = prepared_world("cooccurrence", rows=[[1], [2], [3, 4, 5, ITEMS]])
    augmenter = world.augmenter()
    augmenter.open()
    counters = dict(augmenter.write(world.sources).counters)
    assert counters == {"inserted_items": 9, "items_at_random": 6}
    assert augmenter.facts(counters) == [
        "6 of 9 inserted items resemble nothing: they were drawn among all items",
    ]
    assert augmenter.facts({"inserted_items": 9, "items_at_random": 0}) == []


def test_item_vectors_that_are_no_numbers_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    world = make_world(some_rows(1, items=ITEMS), items=ITEMS, augmenter="insertion", options={})
    items_VD = torch.zeros(ITEMS + 1, 2)
    items_VD[3, 1] = torch.nan
    broken = IntegerBackbone(items_VD, torch.zeros(ITEMS + 1, 2), max_length=8)
    monkeypatch.setattr(insertion, "load_writing_model", lambda *args, **settings: broken)
    with pytest.raises(IntegrityError, match=r"the vector of item 'i3' \(item_index 3\) is not finite"):
        world.augmenter().prepare(world.plan)


def test_a_damaged_table_is_named() -> None:
    world = prepared_world()
    key = next(key for key in world.run.store.list("") if "prepared." in key and key.endswith("parquet"))
    world.run.store.put(key, world.run.store.read(key)[:-1])
    with pytest.raises(IntegrityError, match=r"prepared\.[0-9a-f]{12}\.parquet is not the table"):
        world.augmenter().open()


def test_a_table_of_items_that_there_are_not_is_refused() -> None:
    world = prepared_world()
    table = prepared.read_table(world.run.store, 0, TABLE)
    for strange in ([ITEMS + 1, 0], [0, 1], [1, ITEMS + 1], [1, -1], [1, ITEMS]):
        world.run.store.delete(layout.prepared(0))
        row = pa.table([[value] for value in strange], schema=TABLE)
        prepared.publish_table(world.run.store, 0, pa.concat_tables([table, row]), figures={})
        with pytest.raises(IntegrityError, match="are no items of the dataset"):
            world.augmenter().open()


def test_an_iteration_that_was_not_prepared_is_refused() -> None:
    world = prepared_world()
    world.run.store.delete(layout.prepared(0))
    with pytest.raises(IntegrityError, match=r"prepared\.json is missing"):
        world.augmenter().open()


def test_a_table_with_other_columns_or_with_nulls_is_refused() -> None:
    world = prepared_world()
    table = prepared.read_table(world.run.store, 0, TABLE)
    hole = pa.table([table.column(0), pa.nulls(table.num_rows, pa.int64())], schema=TABLE)
    for strange in (table.select([1, 0]), table.select([0]), hole):
        world.run.store.delete(layout.prepared(0))
        prepared.publish_table(world.run.store, 0, strange, figures={})
        with pytest.raises(IntegrityError, match="has other columns than"):
            world.augmenter().open()


def test_the_first_of_two_tables_counts() -> None:
    world = prepared_world()
    table = prepared.read_table(world.run.store, 0, TABLE)
    prepared.publish_table(world.run.store, 0, table.slice(1), figures={})
    assert prepared.read_table(world.run.store, 0, TABLE) == table
