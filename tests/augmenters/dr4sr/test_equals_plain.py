"""Rows of many sources at once are those of one source after another, to the last item."""

from hypothesis import given, settings

from rsir_scale.augmenters.dr4sr.decode import Decoder
from rsir_scale.augmenters.dr4sr.patterns import mine_pairs
from rsir_scale.augmenters.dr4sr.rows import rows_of
from rsir_scale.data.sequences import Sequences
from tests.augmenters.dr4sr import plain
from tests.augmenters.dr4sr.worlds import SOURCE_LENGTH, World, worlds

Rows = dict[tuple[int, int], list[int]]


def _written(world: World, sources: Sequences, *, batch_rows: int) -> Rows:
    options = world.options
    pairs = mine_pairs(
        world.sources,
        span=options.span,
        support=options.support,
        most=options.patterns,
        identity=world.identity,
    )
    decoder = Decoder(world.network, options, source_length=SOURCE_LENGTH, batch_rows=batch_rows)
    written = rows_of(sources, pairs, decoder.decode(sources), patterns=options.patterns, search="")
    keys = zip(sources.ids[written.source].tolist(), written.trial.tolist(), strict=True)
    return {
        key: written.items[first:end].tolist()
        for key, first, end in zip(keys, written.offsets[:-1], written.offsets[1:], strict=True)
    }


@settings(max_examples=settings.default.max_examples // 2)
@given(worlds())
def test_rows_are_those_of_the_plain_reference(world: World) -> None:
    rows = _written(world, world.sources, batch_rows=64)
    assert rows == plain.written(world.rows, world.network, world.options, world.identity)


@settings(max_examples=settings.default.max_examples // 10)
@given(worlds())
def test_rows_depend_neither_on_order_nor_on_company(world: World) -> None:
    whole = _written(world, world.sources, batch_rows=64)
    places = range(len(world.sources))
    backwards = _written(world, world.sources.select(places[::-1]), batch_rows=1)
    apart = [_written(world, world.sources.select([place]), batch_rows=5) for place in places]
    assert backwards == whole == {key: row for rows in apart for key, row in rows.items()}
