"""A run's analysis, against its manifests, its dataset and the lists that its models give."""

import json

import numpy as np
import pytest

from rsir_scale.analysis.report import analyse
from rsir_scale.errors import InputError
from rsir_scale.evaluation.evaluate import test_set as users_to_test
from rsir_scale.models.repository import load_trained
from rsir_scale.outputs.recommend import LoadedModel
from rsir_scale.runs.manifest import read_chain
from tests.analysis.worlds import market_run
from tests.loop.tiny_run import tiny_run


def test_a_run_is_described_iteration_by_iteration() -> None:
    run = tiny_run()
    told = analyse(run, top=5)
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    rows, chain = told["iterations"], read_chain(run.store)
    assert [row["iteration"] for row in rows] == [0, 1, 2]
    assert rows[0]["density"] == pytest.approx(run.dataset.meta.density)
    assert (rows[0]["density_growth"], rows[0]["corpus_entropy_equal_size"]) == (0.0, rows[0]["corpus_entropy"])
    for row, following, manifest in zip(rows, rows[1:], chain, strict=False):
        # What a manifest says was written is what the files of the next D_k hold more.
        assert following["pairs"] == row["pairs"] + manifest.generation.pairs
        assert following["sequences"] == row["sequences"] + manifest.generation.rows
    assert "leakage" not in rows[0]


def test_lists_are_those_that_the_model_recommends_to_the_test_users() -> None:
    run = tiny_run()
    users = users_to_test(run.dataset.training_sequences(), run.dataset.held_out())
    model = LoadedModel(load_trained(run, 1), run.dataset.item_ids(), mask_history=True)
    lists, _ = model.rank(users.contexts, 3)
    row = analyse(run, top=3)["iterations"][1]
    assert row["coverage@3"] == pytest.approx(len(np.unique(lists[lists > 0])) / run.dataset.meta.items)


def test_on_a_planted_market_leakage_stands_beside_chance_and_the_breakdown_point() -> None:
    run = market_run(mode="exact", iterations=2)
    told = analyse(run, top=5, market_seed=0)
    assert [row["leakage"] < row["leakage_by_chance"] for row in told["iterations"][:2]] == [True, True]
    assert "leakage" not in told["iterations"][2]
    assert 0 < told["real_noise"] < told["iterations"][0]["leakage"]
    assert [step["iteration"] for step in told["breakdown"]] == [0, 1]


def test_around_the_minima_all_models_are_looked_at_on_the_same_samples() -> None:
    run = tiny_run()
    first, second, third = analyse(run, top=5, sharpness=True)["iterations"]
    assert first["moved_pairs"] == second["moved_pairs"] == third["moved_pairs"] > 0
    assert first["way_0"] == first["way_1"] == first["loss"]
    assert second["way_0"] == pytest.approx(first["loss"])
    assert second["way_1"] == pytest.approx(second["loss"])
    assert third["top_eigenvalue"] > 0


@pytest.mark.parametrize(("asked", "named"), [({"top": 31}, "top=31"), ({"top": 5, "market_seed": 0}, "seed 0")])
def test_what_cannot_be_told_is_refused(asked: dict[str, int], named: str) -> None:
    run = tiny_run()
    with pytest.raises(InputError, match=named):
        analyse(run, **asked)
