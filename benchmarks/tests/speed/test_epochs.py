"""Epochs are compared where they learned alike, and other rows of the file stay."""

import pytest

from benchmarks.speed.epochs import others, require_alike


def test_losses_that_part_are_no_result() -> None:
    require_alike([6.0, 5.5], [6.01, 5.49])
    with pytest.raises(SystemExit, match="more than 1% apart"):
        require_alike([6.0, 5.5], [6.0, 5.4])


def test_rows_that_are_not_measured_stay() -> None:
    rows = [{"loss": "bce"}, {"preset": "paper", "backbone": "hstu"}, {"preset": "strong", "backbone": "hstu"}]
    assert others(rows, "paper", "hstu") == [rows[0], rows[2]]
