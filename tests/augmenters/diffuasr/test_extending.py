"""Rows of DiffuASR: those of the plain reference, whatever stands beside a source."""

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from rsir_scale.augmenters.diffuasr.extending import EMPTY, LONG_ENOUGH
from rsir_scale.augmenters.written import Written, check_written
from rsir_scale.data.sequences import Sequences
from tests.augmenters.diffuasr.plain import plain_rows
from tests.augmenters.diffuasr.worlds import USERS, World, worlds

some_examples = settings(max_examples=8)


def rows_of(written: Written, sources: Sequences) -> dict[int, list[int]]:
    """Items of each row, by the source's sequence id."""
    return {
        int(sources.ids[source]): written.items[written.offsets[row] : written.offsets[row + 1]].tolist()
        for row, source in enumerate(written.source)
    }


@given(worlds())
@settings(max_examples=20)
def test_rows_are_those_of_the_plain_reference(world: World) -> None:
    expected = plain_rows(
        world.sources,
        model=world.model(),
        options=world.options,
        vectors=world.vectors_VD.numpy(),
        known=world.known,
        users=USERS,
        identity=world.identity,
    )
    found = rows_of(world.extender()(world.sources), world.sources)
    assert found == {
        int(sequence_id): row for sequence_id, row in zip(world.sources.ids, expected, strict=True) if row is not None
    }


@given(worlds(), st.data())
@some_examples
def test_a_row_does_not_depend_on_the_sources_beside_it(world: World, data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(len(world.sources))))
    some = world.sources.select(order[: data.draw(st.integers(0, len(order)))])
    extender = world.extender()
    whole, part = rows_of(extender(world.sources), world.sources), rows_of(extender(some), some)
    assert part == {sequence_id: whole[sequence_id] for sequence_id in some.ids.tolist() if sequence_id in whole}


@given(worlds())
@some_examples
def test_rows_keep_the_contract_and_hold_known_items_alone(world: World) -> None:
    written = world.extender()(world.sources)
    known_V = np.isin(np.arange(len(world.vectors_VD)), world.known)
    check_written(
        written,
        world.sources,
        trials=1,
        item_count=len(world.vectors_VD) - 1,
        known_V=known_V,
        evidence=pa.schema([]),
    )
    assert written.counters["pseudo_items"] == len(written) * world.options.items
    assert (written.first_target == world.options.items).all()


@given(worlds())
@some_examples
def test_every_source_is_accounted_for_by_the_length_of_its_own_items(world: World) -> None:
    written, items = world.extender()(world.sources), world.options.items
    own = np.maximum(world.sources.lengths - items * (world.sources.ids >= USERS), 0)
    assert written.stops == {
        LONG_ENOUGH: int((own >= world.options.shorter_than).sum()),
        EMPTY: int(((own == 0) & (own < world.options.shorter_than)).sum()),
    }
    assert set(written.source.tolist()) == set(np.flatnonzero((own > 0) & (own < world.options.shorter_than)).tolist())
