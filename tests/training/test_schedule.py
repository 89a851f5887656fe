"""A rate rises to its peak and falls to nothing, and the number of an update is all it depends on."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rsir_scale.config.settings import TrainingConfig
from rsir_scale.training.schedule import Schedule, schedule_of


@given(update=st.integers(0, 10**6))
def test_a_constant_rate_is_the_same_at_every_update(update: int) -> None:
    assert schedule_of(TrainingConfig(learning_rate=0.25), 7).of(update) == 0.25


@given(maximum=st.integers(2, 500), warmup=st.floats(0.0, 0.9))
def test_a_linear_rate_rises_to_its_peak_falls_from_there_and_is_above_nothing_to_the_last(
    maximum: int, warmup: float
) -> None:
    schedule = schedule_of(TrainingConfig(schedule="linear", warmup=warmup, learning_rate=2.0), maximum)
    rates = [schedule.of(update) for update in range(maximum)]
    top = rates.index(max(rates))
    assert rates[top] == 2.0
    assert top == int(warmup * maximum)
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert rates[-1] == pytest.approx(2.0 / (maximum - top))
    assert schedule.of(maximum) == 0.0


def test_the_rates_of_many_updates_are_those_of_each() -> None:
    schedule = Schedule(0.5, rising=3, maximum=20)
    together = schedule.of_rows(torch.arange(25, dtype=torch.float64))
    assert together.tolist() == [schedule.of(update) for update in range(25)]
