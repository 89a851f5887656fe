"""The short way to an augmenter of one's own: one function from a sequence to a sequence."""

import numpy as np
import pyarrow as pa
import pytest

from rsir_scale.augmenters.base import NoOptions, PerSequence
from rsir_scale.augmenters.written import check_written
from rsir_scale.data.sequences import Int32Array
from rsir_scale.randomness import Purpose, generator
from tests.augmenters.contract import AugmenterContract
from tests.augmenters.rsir.worlds import sequences_of
from tests.augmenters.world import make_world, some_rows


class Shuffled(PerSequence):
    """Each source of 3 items and more, shuffled."""

    def row(self, items: Int32Array, draws: np.random.Generator) -> Int32Array | None:
        return draws.permutation(items) if len(items) > 2 else None


class TestShuffled(AugmenterContract):
    name = "tests.augmenters.test_base:Shuffled"
    refused = ({"rate": 1},)


def shuffled(*, seed: int = 7) -> Shuffled:
    world = make_world(some_rows(0, items=12), items=12, augmenter=TestShuffled.name, options={}, seed=seed)
    return Shuffled(world.run, 5)


def test_each_trial_draws_by_its_own_source_and_number() -> None:
    augmenter, items = shuffled(), [1, 2, 3, 4, 5, 6]
    written = augmenter.write(sequences_of([items, [1, 2], items], [40, 41, 42]))
    keys = [(7, 5, source, trial, Purpose.AUGMENT) for source in (40, 42) for trial in range(3)]
    expected = [generator(*key).permutation(np.array(items)).tolist() for key in keys]
    assert written.items.reshape(-1, 6).tolist() == expected
    assert written.source.tolist() == [0, 0, 0, 2, 2, 2]
    assert written.trial.tolist() == [0, 1, 2, 0, 1, 2]
    assert written.stops == {"none": 3}


def test_sources_that_leave_nothing_leave_an_empty_part() -> None:
    sources = sequences_of([[1], [1, 2]])
    written = shuffled().write(sources)
    check_written(written, sources, trials=3, item_count=12, known_V=None, evidence=pa.schema([]))
    assert (len(written), written.items.dtype) == (0, np.int32)


def test_an_augmenter_that_prepares_and_learns_nothing_says_so_and_leaves_no_files() -> None:
    augmenter = shuffled()
    assert not augmenter.prepares
    assert not augmenter.learns
    assert (augmenter.files(), augmenter.facts({}), augmenter.Options) == ([], [], NoOptions)


def test_trials_are_those_of_the_settings_unless_the_augmenter_has_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shuffled().trials == 3
    monkeypatch.setattr(Shuffled, "fixed_trials", 1)
    assert shuffled().trials == 1
