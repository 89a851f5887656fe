"""The bound is solved for what it holds: each equation undoes another."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from rsir_scale.analysis.bound import Step

shares = st.floats(0.05, 0.95)


@st.composite
def steps(draw: st.DrawFn) -> Step:
    base = draw(st.floats(0.2, 0.9))
    return Step(draw(shares), draw(st.floats(0, 0.9)), base * draw(st.floats(0.5, 1.0)), base, 1.0)


@given(step=steps(), contraction=st.floats(0.1, 1.2))
def test_the_contraction_that_is_found_gives_the_error_again(step: Step, contraction: float) -> None:
    assert step.contraction(step.next_error(contraction)) == pytest.approx(contraction, abs=1e-9)


@given(step=steps(), contraction=st.floats(0.1, 1.0))
def test_the_error_falls_exactly_below_the_breakdown_point(step: Step, contraction: float) -> None:
    breakdown = step.breakdown(contraction)
    assume(breakdown is not None and abs(breakdown - step.leakage) > 1e-9)
    assert (step.leakage < breakdown) == (step.next_error(contraction) < step.error)


@given(step=steps(), contraction=st.floats(0.1, 1.0))
def test_without_leakage_the_recursion_rests_at_its_limit(step: Step, contraction: float) -> None:
    limit = step.limit(contraction)
    resting = Step(step.share, 0.0, limit, step.base_error, step.worst_error)
    assert resting.next_error(contraction) == pytest.approx(limit)


def test_where_nothing_is_valid_there_is_no_contraction() -> None:
    assert Step(0.5, 1.0, 0.8, 0.9, 1.0).contraction(0.8) is None


def test_where_valid_items_are_as_bad_as_noise_there_is_no_breakdown_point() -> None:
    assert Step(0.5, 0.1, 0.9, 0.9, 1.0).breakdown(1.2) is None
    assert Step(0.9, 0.1, 0.9, 0.9, 1.0).limit(1.2) is None
