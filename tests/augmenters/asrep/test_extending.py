"""Extension in blocks, on remembered keys and values, is extension one sequence at a time from scratch."""

import numpy as np
from hypothesis import given

from tests.augmenters.asrep.plain import plain_items_before
from tests.augmenters.asrep.worlds import World, worlds
from tests.augmenters.rsir.worlds import few_examples


@given(world=worlds())
def test_items_are_those_of_the_plain_reference(world: World) -> None:
    found = world.extender().extend(world.contexts, world.counts)
    for row, count in enumerate(world.counts.tolist()):
        items = world.contexts.row(row).tolist()[::-1]
        expected = plain_items_before(world.model, world.known, items, count=count)[::-1]
        assert found[row].tolist() == expected + [0] * (found.shape[1] - len(expected))


@few_examples
@given(world=worlds())
def test_what_is_written_depends_neither_on_company_nor_on_the_size_of_a_block(world: World) -> None:
    whole = world.extender(rows=100).extend(world.contexts, world.counts)
    alone = world.extender(rows=1)
    for row, count in enumerate(world.counts.tolist()):
        found = alone.extend(world.contexts.select([row]), world.counts[[row]])
        assert np.array_equal(found[0], whole[row, :count])


@few_examples
@given(world=worlds())
def test_fewer_items_are_the_nearest_of_more(world: World) -> None:
    # So more than are used need not be written.
    more = world.extender().extend(world.contexts, world.counts)
    one = np.ones_like(world.counts)
    assert np.array_equal(world.extender().extend(world.contexts, one), more[:, :1])


@few_examples
@given(world=worlds())
def test_no_item_stands_twice_and_none_is_beyond_those_known(world: World) -> None:
    found = world.extender().extend(world.contexts, world.counts)
    for row, items in enumerate(found.tolist()):
        written = [item for item in items if item]
        assert len(set(written)) == len(written)
        assert set(written) <= set(world.known) - set(world.contexts.row(row).tolist())
