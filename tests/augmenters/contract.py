"""What the engine relies on in any augmenter, stated once.

Inherit `AugmenterContract` in a test module and name the augmenter; `ContractOfRows` where it has a recheck of its own.
Worlds are made of seeds and kept for all tests of a class, since an augmenter may have to be fitted before it writes;
such a one has fewer seeds.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

from rsir_scale.augmenters.base import Augmenter
from rsir_scale.augmenters.opening import known_items
from rsir_scale.augmenters.part import Part, RowFault, part_table
from rsir_scale.augmenters.written import Written, check_written
from rsir_scale.data.schema import CONTENT_HASH, ITEMS, SEQUENCE_ID
from rsir_scale.data.sequences import Sequences, from_arrow, to_list_array
from rsir_scale.errors import ConfigError
from rsir_scale.generation.learning import fit_augmenter_locally
from rsir_scale.randomness import content_hashes
from rsir_scale.runs import layout
from rsir_scale.runs.columns import SOURCE_SEQUENCE_ID
from tests.augmenters.rsir.worlds import sequences_of
from tests.augmenters.world import World, make_world, some_rows

FIRST_ID = 1000
Made = tuple[World, Augmenter]


class ContractOfRows:
    """Tests that every augmenter inherits, however its rows are checked again.

    Attributes:
        name: as `generation.augmenter` has it.
        options: of the section `augmenter`.
        refused: options outside their ranges, each a section of its own.
        seeds: one world each.
        draws: whether rows depend on the seed at all.
    """

    name: ClassVar[str]
    options: ClassVar[Mapping[str, object]] = {}
    refused: ClassVar[Sequence[Mapping[str, object]]] = ()
    seeds: ClassVar[Sequence[int]] = range(3)
    draws: ClassVar[bool] = True

    def made(self, world: World) -> Made:
        """A world, and its augmenter ready to write."""
        augmenter = world.augmenter()
        fit_augmenter_locally(augmenter)
        augmenter.prepare(world.plan)
        augmenter.open()
        return world, augmenter

    def world(self, seed: int, *, items: int = 12, run_seed: int = 7) -> World:
        """A new world of that seed."""
        rows = some_rows(seed, items=items)
        return make_world(rows, items=items, augmenter=self.name, options=self.options, seed=run_seed)

    def all_made(self) -> list[Made]:
        """A world for each seed, made once for a class."""
        return _all_made(type(self))

    def test_rows_keep_the_contract_and_every_trial_is_accounted_for(self) -> None:
        for world, augmenter in self.all_made():
            keeps_the_contract(augmenter, world.sources)

    def test_an_item_that_is_only_held_out_never_appears(self) -> None:
        for world, augmenter in self.all_made():
            assert augmenter.beyond_training_items or world.canary not in augmenter.write(world.sources).items

    def test_held_out_files_are_not_opened(self) -> None:
        (world, augmenter), blind = self.all_made()[0], self.world(self.seeds[0])
        for file in blind.run.dataset.files("heldout"):
            (Path(blind.run.dataset.path) / file.path).write_bytes(b"unreadable")
        assert same_rows(self.made(blind)[1].write(world.sources), augmenter.write(world.sources))

    def test_rows_depend_neither_on_the_order_of_the_sources_nor_on_their_company(self) -> None:
        for seed, (world, augmenter) in zip(self.seeds, self.all_made(), strict=True):
            whole, count = rows_by_id(augmenter, world.sources), len(world.sources)
            order = np.random.default_rng(seed).permutation(count)
            assert rows_by_id(augmenter, world.sources.select(order)) == whole
            parts = [rows_by_id(augmenter, world.sources.select([source])) for source in range(count)]
            assert {source: rows for part in parts for source, rows in part.items()} == whole

    def test_an_augmenter_that_is_opened_again_writes_the_same_rows(self) -> None:
        world, augmenter = self.all_made()[0]
        again = world.augmenter()
        again.prepare(world.plan)
        again.open()
        assert same_rows(again.write(world.sources), augmenter.write(world.sources))

    def test_what_was_made_for_the_iteration_is_named_with_its_hash(self) -> None:
        world, augmenter = self.all_made()[0]
        left = {key for key in world.run.store.list("iteration=000/generation") if "/learned/" not in key}
        assert {entry.key for entry in augmenter.files()} == left - {layout.plan(0)}

    def test_another_seed_or_iteration_gives_other_rows_where_rows_are_drawn(self) -> None:
        long = sequences_of([[1 + (7 * place) % 11 for place in range(11)]], [0])
        rows = []
        for run_seed in (7, 8):
            _, augmenter = self.made(self.world(self.seeds[0], run_seed=run_seed))
            rows.append(augmenter.write(long))
        assert same_rows(*rows) != self.draws

    def test_sources_of_one_or_two_items_and_of_none_break_nothing(self) -> None:
        _, augmenter = self.all_made()[0]
        keeps_the_contract(augmenter, sequences_of([[1], [], [1, 1], [1, 2], [2]], [3, 0, 9, 4, 2**40]))
        keeps_the_contract(augmenter, sequences_of([]))

    def test_a_catalogue_of_three_items_is_enough(self) -> None:
        rows = [[1, 2, 1, 3], [2, 1], [1], [1, 2, 2, 1, 2]]
        world, augmenter = self.made(make_world(rows, items=3, augmenter=self.name, options=self.options))
        keeps_the_contract(augmenter, world.sources)

    def test_options_outside_their_ranges_are_refused(self) -> None:
        options = self.all_made()[0][1].Options
        for fault in self.refused:
            with pytest.raises(ValidationError):
                options.model_validate(fault)
            with pytest.raises(ConfigError, match=rf"augmenter\.{next(iter(fault))}"):
                make_world([[1, 2]], items=3, augmenter=self.name, options=fault)

    def test_a_part_as_it_was_written_has_no_fault(self) -> None:
        for world, augmenter in self.all_made():
            assert faults(augmenter, world.sources, part_of(augmenter, world.sources)) == []

    def test_one_changed_item_is_found(self) -> None:
        for world, augmenter in self.all_made():
            table = part_of(augmenter, world.sources)
            for row in range(0, table.num_rows, 5):
                found = faults(augmenter, world.sources, with_other_item(table, row))
                assert {fault.row for fault in found} == {table.column(SEQUENCE_ID)[row].as_py()}

    def test_rows_of_a_source_that_was_set_aside_are_found(self) -> None:
        for world, augmenter in self.all_made():
            table = part_of(augmenter, world.sources)
            if table.num_rows:
                source_of = table.column(SOURCE_SEQUENCE_ID).to_numpy()
                gone = int(source_of[-1])
                found = faults(augmenter, world.sources, table, set_aside=[gone])
                ids = table.column(SEQUENCE_ID).to_numpy()
                assert {fault.row for fault in found} == {*ids[source_of == gone].tolist()}


class AugmenterContract(ContractOfRows):
    """The same, and what holds where sources are written again to be checked."""

    def test_a_missing_row_is_found(self) -> None:
        for world, augmenter in self.all_made():
            table = part_of(augmenter, world.sources)
            if table.num_rows:
                less = pa.concat_tables([table.slice(0, 1), table.slice(2)])
                gone = {*table.column(SEQUENCE_ID).to_pylist()} - {*less.column(SEQUENCE_ID).to_pylist()}
                assert {fault.row for fault in faults(augmenter, world.sources, less)} == gone

    def test_a_row_too_many_is_found_as_is_one_of_a_stranger(self) -> None:
        for world, augmenter in self.all_made():
            sources, table = world.sources, part_of(augmenter, world.sources)
            if not table.num_rows:
                continue
            last = table.slice(table.num_rows - 1)
            too_high = with_column(last, SEQUENCE_ID, last.column(SEQUENCE_ID)[0].as_py() + 10**6)
            strange = with_column(too_high, SOURCE_SEQUENCE_ID, 10**9)
            for extra in (last, too_high, strange):
                more = pa.concat_tables([table, extra]).combine_chunks()
                found = faults(augmenter, sources, more)
                assert extra.column(SEQUENCE_ID)[0].as_py() in {fault.row for fault in found}

    def test_chosen_rows_alone_may_be_made_again_and_no_more_are_told_than_were(self) -> None:
        for world, augmenter in self.all_made():
            table = part_of(augmenter, world.sources)
            if len(set(table.column(SOURCE_SEQUENCE_ID).to_pylist())) < 2:
                continue
            chosen = np.zeros(table.num_rows, dtype=np.bool_)
            chosen[0] = True
            source_of = table.column(SOURCE_SEQUENCE_ID).to_numpy()
            part = Part(table, world.sources, FIRST_ID, np.empty(0, np.int64), chosen)
            assert augmenter.recheck(part).again == (source_of == source_of[0]).sum()
            assert faults(augmenter, world.sources, with_other_item(table, 0), chosen=chosen)
            assert not faults(augmenter, world.sources, with_other_item(table, table.num_rows - 1), chosen=chosen)


@cache
def _all_made(suite: type[ContractOfRows]) -> list[Made]:
    contract = suite()
    return [contract.made(contract.world(seed)) for seed in contract.seeds]


def keeps_the_contract(augmenter: Augmenter, sources: Sequences) -> None:
    """Raise where rows break a rule."""
    check_written(
        augmenter.write(sources),
        sources,
        trials=augmenter.trials,
        item_count=augmenter.run.dataset.meta.items,
        known_V=known_items(augmenter),
        evidence=augmenter.evidence,
    )


def table_of(augmenter: Augmenter, written: Written, sources: Sequences) -> pa.Table:
    """All columns of the rows of some sources."""
    return part_table(
        written,
        sources,
        np.arange(len(sources)),
        first_id=FIRST_ID,
        iteration=augmenter.iteration,
        trials=augmenter.trials,
        evidence=augmenter.evidence,
    )


def part_of(augmenter: Augmenter, sources: Sequences) -> pa.Table:
    """The part that a shard of these sources is."""
    return table_of(augmenter, augmenter.write(sources), sources)


def rows_by_id(augmenter: Augmenter, sources: Sequences) -> dict[int, list[dict[str, Any]]]:
    """What is written of each source, without the places that sources have."""
    rows: dict[int, list[dict[str, Any]]] = {int(source): [] for source in sources.ids}
    for row in part_of(augmenter, sources).drop_columns([SEQUENCE_ID]).to_pylist():
        rows[row[SOURCE_SEQUENCE_ID]].append(row)
    return rows


def same_rows(one: Written, other: Written) -> bool:
    """Whether two returned the same rows."""
    fields = ("source", "trial", "offsets", "items")
    return all(np.array_equal(getattr(one, field), getattr(other, field)) for field in fields)


def faults(
    augmenter: Augmenter,
    sources: Sequences,
    table: pa.Table,
    *,
    set_aside: Sequence[int] = (),
    chosen: np.ndarray | None = None,
) -> list[RowFault]:
    """What a recheck of a part finds."""
    all_rows = np.ones(table.num_rows, dtype=np.bool_)
    part = Part(table, sources, FIRST_ID, np.array(set_aside, np.int64), all_rows if chosen is None else chosen)
    return list(augmenter.recheck(part).faults)


def with_column(table: pa.Table, name: str, value: int) -> pa.Table:
    """A table with one value in a column."""
    place = table.schema.get_field_index(name)
    values = pa.array([value] * table.num_rows, type=table.schema.field(name).type)
    return table.set_column(place, table.schema.field(name), values)


def with_other_item(table: pa.Table, row: int) -> pa.Table:
    """A table in which the last item of a row is another training item, and the hash that of the items there are."""
    sequences = from_arrow(table)
    items = sequences.items.copy()
    last = sequences.offsets[row + 1] - 1
    items[last] = 1 if items[last] != 1 else 2
    hashes = content_hashes(sequences.offsets, items)
    columns = {
        ITEMS: to_list_array(sequences.offsets, items),
        CONTENT_HASH: pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), table.num_rows, [None, pa.py_buffer(hashes)]),
    }
    for name, values in columns.items():
        table = table.set_column(table.schema.get_field_index(name), table.schema.field(name), values)
    return table
