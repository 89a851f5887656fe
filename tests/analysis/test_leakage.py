"""Noise is counted by the market that the data were drawn from, and by nothing else."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rsir_scale.analysis.leakage import (
    Leak,
    against_breakdown,
    leaks,
    planted_market,
    real_noise,
    steps_of,
    worst_error,
)
from rsir_scale.data.dataset import open_dataset
from rsir_scale.data.synthetic import Market, synthesize
from rsir_scale.errors import InputError
from rsir_scale.runs.manifest import read_chain
from rsir_scale.runs.selection import SELECTION_METRIC
from tests.analysis.worlds import market_run, sequences_of


def test_steps_are_the_generated_items_each_after_the_one_before() -> None:
    found = steps_of(sequences_of([[1, 2, 3], [4, 5], []]), np.array([7, 8, 9]), np.array([1, 0, 0]))
    assert found.users.tolist() == [7, 7, 8, 8]
    assert found.before.tolist() == [1, 2, 0, 4]
    assert found.items.tolist() == [2, 3, 4, 5]
    assert found.sequences.tolist() == [10, 10, 11, 11]
    assert found.positions.tolist() == [1, 2, 0, 1]


def test_a_run_that_accepts_everything_lets_more_noise_through_than_one_that_checks() -> None:
    shares = {}
    for mode, generations in (("exact", 2), ("off", 1)):
        run = market_run(mode=mode, iterations=generations)
        market = planted_market(run.dataset, 0)
        found = list(leaks(run, market, generations))
        assert all(0 <= leak.noise <= leak.accepted for leak in found)
        assert all(leak.by_chance > leak.accepted / 2 for leak in found)
        shares[mode] = found[0].noise / found[0].accepted
    assert 0 < shares["exact"] < shares["off"]


def test_a_real_step_is_noise_about_one_time_in_twenty(tmp_path: Path) -> None:
    synthesize(users=400, items=3000, out=tmp_path / "market", seed=5)
    dataset = open_dataset(tmp_path / "market")
    assert 0.02 < real_noise(planted_market(dataset, 5), dataset.training_sequences()) < 0.12


def test_data_of_another_seed_are_refused() -> None:
    with pytest.raises(InputError, match="not the market of seed 1"):
        planted_market(market_run(mode="exact", iterations=2).dataset, 1)


def test_the_first_step_gives_the_contraction_by_which_the_next_is_foretold() -> None:
    run = market_run(mode="exact", iterations=2)
    manifests = read_chain(run.store)
    scores = (0.10, 0.12, 0.13)
    manifests = [
        replace(each, model=each.model.model_copy(update={"metrics": {SELECTION_METRIC: score}}))
        for each, score in zip(manifests, scores, strict=True)
    ]
    found = [Leak(100, 20, 90), Leak(100, 20, 90)]
    pairs = run.dataset.meta.training_pairs
    first, second = against_breakdown(manifests, found, real_pairs=pairs, item_count=run.dataset.meta.items)
    assert first["foretold"] is None
    assert second["foretold_with"] == first["rho"] < 1
    assert second["leakage"] == 0.2
    assert second["right"] == (second["foretold"] is True)
    worse = against_breakdown(manifests, [found[0], Leak(1000, 999, 900)], real_pairs=pairs, item_count=800)
    assert worse[1]["foretold"] is False
    assert worse[1]["right"] is False


def test_a_ranking_at_random_is_the_worst_there_is() -> None:
    assert worst_error(20) < worst_error(2000) < 1
    assert worst_error(1) == 0


def test_a_market_knows_its_own_sequences_from_those_of_another() -> None:
    market = Market(2000, 1)
    own = market.sequences(np.arange(200))
    assert real_noise(market, own) < 0.15 < real_noise(Market(2000, 2), own)
