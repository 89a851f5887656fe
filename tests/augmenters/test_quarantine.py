"""Rows that fail on their own are set aside with their reason; whatever else fails, the run hears of it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsir_scale.augmenters.quarantine import Rows, most_failures, survive
from rsir_scale.errors import ResumableError, StorageFullError, reason_of


class Work:
    """Squares rows, unless one of them is poison; counts how often each was tried."""

    def __init__(self, poison: set[int]) -> None:
        self.poison = poison
        self.tried: dict[int, int] = {}

    def __call__(self, rows: Rows) -> list[int]:
        for row in rows.tolist():
            self.tried[row] = self.tried.get(row, 0) + 1
        bad = sorted(self.poison & set(rows.tolist()))
        if bad:
            raise ZeroDivisionError(f"row {bad[0]} is poison")
        return [row * row for row in rows.tolist()]


@given(count=st.integers(1, 40), poison=st.sets(st.integers(0, 39)))
def test_what_fails_alone_is_set_aside_and_all_else_is_done(count: int, poison: set[int]) -> None:
    work, poison = Work(poison), {row for row in poison if row < count}
    survived = survive(work, count, max_rate=1.0)
    assert survived.rows.tolist() == [row for row in range(count) if row not in poison]
    assert survived.result == [row * row for row in survived.rows.tolist()]
    assert survived.failed == {row: f"ZeroDivisionError: row {row} is poison" for row in sorted(poison)}
    assert max(work.tried.values()) <= 2 + int(np.ceil(np.log2(count))) + 2


@given(count=st.integers(1, 200), rate=st.floats(0.0, 1.0), failing=st.integers(1, 200))
def test_a_share_rounded_up_may_fail_and_no_more(count: int, rate: float, failing: int) -> None:
    poison = set(range(min(failing, count)))
    if len(poison) <= most_failures(count, rate):
        assert set(survive(Work(poison), count, max_rate=rate).failed) == poison
        return
    with pytest.raises(ResumableError, match=r"above run\.max_error_rate=.* row 0 is poison: mend its cause"):
        survive(Work(poison), count, max_rate=rate)


@pytest.mark.parametrize(("count", "rate", "most"), [(100, 0.07, 7), (50, 0.14, 7), (4096, 0.01, 41), (9, 0.0, 0)])
def test_up_is_rounded_from_what_the_share_says(count: int, rate: float, most: int) -> None:
    assert most_failures(count, rate) == most


def test_a_shard_all_of_which_is_poison_does_not_try_every_row() -> None:
    work = Work(set(range(4096)))
    with pytest.raises(ResumableError):
        survive(work, 4096, max_rate=0.0)
    assert sum(count > 13 for count in work.tried.values()) == 1


def test_rows_that_fail_only_together_are_nobodys_fault() -> None:
    def work(rows: Rows) -> None:
        if len(rows) > 3:
            raise MemoryError("too many at once")

    with pytest.raises(ResumableError, match=r"none of them alone \(MemoryError: too many at once\)"):
        survive(work, 8, max_rate=1.0)


def test_a_full_disk_is_no_rows_fault_and_not_tried_again() -> None:
    calls = []

    def work(rows: Rows) -> None:
        calls.append(len(rows))
        raise StorageFullError("no room left")

    with pytest.raises(StorageFullError):
        survive(work, 8, max_rate=1.0)
    assert calls == [8]


def test_a_row_that_fails_once_and_not_again_is_kept() -> None:
    failures = iter([True, True])

    def work(rows: Rows) -> Rows:
        if 2 in rows and next(failures, False):
            raise OSError("a hiccup")
        return rows

    survived = survive(work, 4, max_rate=1.0)
    assert (survived.rows.tolist(), survived.failed) == ([0, 1, 2, 3], {})


def test_a_reason_is_one_line_of_bounded_length() -> None:
    assert reason_of(ValueError("a\n\nb")) == "ValueError: a b"
    assert len(reason_of(ValueError("x" * 10_000))) == 500
