"""DR4SR as an augmenter: the contract of all of them, and what is its own."""

from functools import partial

import numpy as np
import pyarrow as pa
import pytest

from rsir_scale.augmenters import prepared
from rsir_scale.augmenters.dr4sr.augmenter import TABLE, Dr4sr
from rsir_scale.errors import ConfigError, DivergedError, InputError, IntegrityError
from rsir_scale.generation.learning import fit_augmenter_locally
from rsir_scale.runs import layout
from rsir_scale.runs.learned import read_learned
from rsir_scale.training.epoch import Progress
from tests.augmenters.contract import AugmenterContract
from tests.augmenters.world import World, make_world

SMALL = {
    "support": 1,
    "patterns": 3,
    "memories": 2,
    "blocks": 1,
    "feed_forward": 8,
    "longest": 5,
    "epochs": 2,
    "batch_size": 16,
    "learning_rate": 0.01,
}
dr4sr_world = partial(make_world, augmenter="dr4sr")


class TestContract(AugmenterContract):
    name = "dr4sr"
    options = SMALL
    refused = (
        {"span": 1},
        {"support": 0},
        {"patterns": 0},
        {"memories": 0},
        {"heads": 0},
        {"dropout": 1.0},
        {"sharpness": -1.0},
        {"epochs": 0},
        {"batch_size": 0},
        {"learning_rate": 0.0},
        {"own_items": -1},
        {"longest": 1},
    )

    def fit(self, world: World) -> None:
        fit_augmenter_locally(world.augmenter())


def test_a_source_has_a_trial_for_each_pattern_and_each_memory() -> None:
    world = dr4sr_world([[1, 2, 3, 1, 2]], items=4, options=SMALL)
    assert world.augmenter().trials == world.plan.trials_per_sequence == 5


def test_only_what_the_regenerator_reads_of_a_source_is_mined() -> None:
    world = dr4sr_world([[8, 7, 1, 2, 3, 4, 5, 6, 1, 2, 9, 9]], items=9, options={**SMALL, "patterns": 200})
    augmenter = world.augmenter()
    fit_augmenter_locally(augmenter)
    augmenter.prepare(world.plan)
    augmenter.open()
    mined = augmenter.write(world.sources)
    # Of 10 training items the latest 8 are read.
    assert not {7, 8} & set(mined.items[: mined.offsets[np.searchsorted(mined.trial, 200)]].tolist())


def test_a_market_without_a_shared_pattern_is_refused_before_anything_is_trained() -> None:
    world = dr4sr_world([[1, 2, 3, 4], [2, 1, 3, 4]], items=4, options={**SMALL, "support": 2})
    with pytest.raises(InputError, match=r"augmenter\.support"):
        Dr4sr.check(world.run.config, world.run.dataset)
    with pytest.raises(InputError, match=r"augmenter\.support"):
        world.augmenter().learner()


def test_heads_that_do_not_divide_the_width_are_refused() -> None:
    world = dr4sr_world([[1, 2, 1, 2, 3]], items=4, options={**SMALL, "heads": 3})
    with pytest.raises(ConfigError, match=r"augmenter\.heads=3"):
        Dr4sr.check(world.run.config, world.run.dataset)


def test_settings_that_work_are_not_refused() -> None:
    world = dr4sr_world([[1, 2, 1, 2, 3]], items=4, options=SMALL)
    Dr4sr.check(world.run.config, world.run.dataset)


def test_a_table_of_patterns_that_mining_cannot_give_is_refused() -> None:
    for ids, row in (([5, 4], [1, 2]), ([4, 5], [1]), ([4, 5], [1, 5])):
        world = dr4sr_world([[1, 2, 1, 2, 3]], items=4, options=SMALL)
        augmenter = world.augmenter()
        fit_augmenter_locally(augmenter)
        columns = [pa.array(ids, pa.int64()), pa.array([[1, 2], row], pa.list_(pa.int32()))]
        prepared.publish_table(world.run.store, 0, pa.table(columns, schema=TABLE), figures={})
        with pytest.raises(IntegrityError, match="not what mining gives"):
            augmenter.open()


def test_a_fit_that_diverges_names_the_option_and_can_be_resumed() -> None:
    world = dr4sr_world([[1, 2, 1, 2, 3]] * 3, items=4, options={**SMALL, "learning_rate": 1e30, "epochs": 9})
    with pytest.raises(DivergedError, match=r"augmenter\.learning_rate"):
        fit_augmenter_locally(world.augmenter())


def test_a_fit_that_was_stopped_ends_in_the_same_weights() -> None:
    rows = [[1, 2, 1, 2, 3], [2, 3, 1, 1, 2]]
    whole, stopped = (dr4sr_world(rows, items=4, options={**SMALL, "batch_size": 4}) for _ in range(2))
    fit_augmenter_locally(whole.augmenter())
    with pytest.raises(KeyboardInterrupt):
        fit_augmenter_locally(stopped.augmenter(), _stop)
    assert layout.learned(0) not in stopped.run.store.list("iteration=000/generation/learned")
    fit_augmenter_locally(stopped.augmenter())
    weights = [[entry.sha256 for entry in read_learned(world.run.store, 0).weights] for world in (whole, stopped)]
    assert weights[0] == weights[1]


def _stop(progress: Progress) -> None:
    raise KeyboardInterrupt
