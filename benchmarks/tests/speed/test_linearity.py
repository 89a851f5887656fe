import numpy as np
import pytest

from benchmarks.speed.linearity import fit


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_the_exponent_is_that_by_which_seconds_grow(power: float) -> None:
    rows = [{"axis": "trials", "trials": x, "seconds": 3 * x**power} for x in (1, 2, 5, 10)]
    rows.append({"axis": "sources", "sources": 7, "seconds": 100.0})
    found = fit(rows, "trials")
    assert found["exponent"] == pytest.approx(power)
    assert (found["r2"] == pytest.approx(1.0)) == (power == 1.0)


def test_what_a_line_leaves_unexplained_lowers_its_share() -> None:
    seconds = np.array([1.0, 5.0, 2.0, 6.0])
    rows = [{"axis": "sources", "sources": x, "seconds": second} for x, second in enumerate(seconds, 1)]
    found = fit(rows, "sources")
    assert found["r2"] == pytest.approx(np.corrcoef([1, 2, 3, 4], seconds)[0, 1] ** 2)
