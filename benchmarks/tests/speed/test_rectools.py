"""Both sides of the timing of training do the same work."""

from benchmarks.speed.rectools import latest
from benchmarks.tests.small_market import market


def test_both_sides_of_the_timing_train_on_the_same_items() -> None:
    real = market().training_sequences()
    cut = latest(real, 6)
    assert [cut.row(row).tolist() for row in range(len(real))] == [
        real.row(row)[-6:].tolist() for row in range(len(real))
    ]
