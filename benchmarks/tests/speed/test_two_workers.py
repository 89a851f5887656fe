"""How two workers' curves are set against one's."""

import pytest

from benchmarks.speed.two_workers import compare


def test_curves_of_workers_are_compared_interval_by_interval() -> None:
    one = {"workers": 1, "loss": [4.0, 2.0], "validation_ndcg_20": [0.1, 0.2], "fit_s": 9.0}
    two = {"workers": 2, "loss": [4.1, 1.8], "validation_ndcg_20": [0.1, 0.23], "fit_s": 6.0}
    found = compare(two, one)
    assert found["largest_loss_difference"] == pytest.approx(0.1)
    assert found["largest_ndcg_20_difference"] == pytest.approx(0.03)
    assert found["speedup"] == 1.5
