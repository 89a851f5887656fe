"""Times of evaluation are told only where both versions gave the same answers."""

import numpy as np
import pytest

from benchmarks.speed.evaluation import Case, compared
from benchmarks.speed.evaluation_worker import planted_model, planted_users, task
from benchmarks.speed.turns import clocked

RANKED = Case("evaluation", 500, 400, every=2)


def test_ranks_may_differ_beyond_the_cap_and_in_a_row_of_a_hundred() -> None:
    ours = np.minimum(np.arange(1, 401), 101)
    before = np.arange(1, 401)[::2].copy()
    facts = compared(RANKED, ours, before, 100)
    assert facts == {"rank_cap": 100, "within_20": 0.05, "within_cap": 0.25, "rows_different": 0.0}
    before[:3] += 1
    with pytest.raises(SystemExit, match=r"1\.50 % of the answers differ"):
        compared(RANKED, ours, before, 100)


def test_a_recommended_item_in_another_place_is_another_answer() -> None:
    ours = np.arange(400)[:, None] + np.arange(3)
    case = Case("recommend", 500, 400, every=2)
    assert compared(case, ours, ours[::2], 100) == {"top": 3, "rows_different": 0.0}
    with pytest.raises(SystemExit, match=r"100\.00 % of the answers differ"):
        compared(case, ours, ours[::2, ::-1], 100)


def test_ratios_are_those_of_one_round() -> None:
    own, before = [(1.0, 1.0), (2.0, 1.0), (4.0, 1.0)], [(3.0, 5.0), (8.0, 5.0), (8.0, 5.0)]
    told = {"seconds": 2.0, "times_before": 3.0, "cpu_seconds": 1.0, "times_before_cpu": 5.0}
    assert clocked(own, before) == told


@pytest.mark.parametrize("name", ["evaluation", "validation", "recommend"])
def test_the_planted_world_gives_every_user_an_answer(name: str) -> None:
    model, users = planted_model(300), planted_users(20, 300)
    assert users.contexts.items.min() >= 1
    assert max(users.contexts.items.max(), users.targets.max()) <= 300
    answers = task(name, model, users, 50)()
    assert answers.shape == ((20, 10) if name == "recommend" else (20,))
    assert answers.min() >= 1
