"""Extension in blocks, on remembered keys and values, is extension one sequence at a time from scratch."""

import numpy as np
from hypothesis import given

from tests.augmenters.asrep.plain import plain_items_before
from tests.augmenters.asrep.worlds import World, worlds
from tests.augmenters.rsir.worlds import few_examples


@given(world=worlds())
def test_items_are_those_of_the_plain_reference(world: World) -> None:
    found = world.extender().extend(world.contexts, count=world.count)
    for row in range(len(world.contexts)):
        items = world.contexts.row(row).tolist()[::-1]
        expected = plain_items_before(world.model, world.known, items, count=world.count)[::-1]
        assert found[row].tolist() == expected + [0] * (world.count - len(expected))


@few_examples
@given(world=worlds())
def test_what_is_written_depends_neither_on_company_nor_on_the_size_of_a_block(world: World) -> None:
    whole = world.extender(rows=100).extend(world.contexts, count=world.count)
    alone = world.extender(rows=1)
    for row in range(len(world.contexts)):
        assert np.array_equal(alone.extend(world.contexts.select([row]), count=world.count)[0], whole[row])


@few_examples
@given(world=worlds())
def test_fewer_items_are_the_nearest_of_more(world: World) -> None:
    # So generating more than are used, as the authors do, changes nothing.
    more = world.extender().extend(world.contexts, count=world.count)
    assert np.array_equal(world.extender().extend(world.contexts, count=1)[:, 0], more[:, 0])


@few_examples
@given(world=worlds())
def test_no_item_stands_twice_and_none_is_beyond_those_known(world: World) -> None:
    found = world.extender().extend(world.contexts, count=world.count)
    for row, items in enumerate(found.tolist()):
        written = [item for item in items if item]
        assert len(set(written)) == len(written)
        assert set(written) <= set(world.known) - set(world.contexts.row(row).tolist())
