"""Rows from patterns and decoded rows: order, copies, stops."""

import numpy as np

from rsir_scale.augmenters.dr4sr.rows import COPY, NO_PATTERN, TOO_SHORT, rows_of
from rsir_scale.augmenters.written import Written
from tests.augmenters.rsir.worlds import sequences_of

SOURCES = sequences_of([[1, 2, 3], [4, 5], [6]], [30, 10, 20])
PAIRS = sequences_of([[5, 4], [4, 5], [1, 3]], [10, 10, 30])
DECODED = np.array([[[3, 1, 2], [1, 2, 3]], [[4, 0, 0], [4, 6, 0]], [[0, 0, 0], [6, 1, 0]]])


def _rows(written: Written) -> list[tuple[int, int, list[int]]]:
    ends = zip(written.offsets[:-1], written.offsets[1:], strict=True)
    items = [written.items[first:end].tolist() for first, end in ends]
    return list(zip(written.source.tolist(), written.trial.tolist(), items, strict=True))


def test_patterns_are_the_first_trials_and_decoded_rows_the_last() -> None:
    written = rows_of(SOURCES, PAIRS, DECODED, patterns=3, search="")
    assert _rows(written) == [(0, 0, [1, 3]), (0, 3, [3, 1, 2]), (1, 0, [5, 4]), (1, 4, [4, 6]), (2, 4, [6, 1])]


def test_every_trial_without_a_row_is_counted_by_its_reason() -> None:
    written = rows_of(SOURCES, PAIRS, DECODED, patterns=3, search="")
    assert written.stops == {NO_PATTERN: 6, TOO_SHORT: 2, COPY: 2}
    assert len(written) + sum(written.stops.values()) == 3 * 5


def test_sources_without_patterns_or_items_leave_what_is_decoded() -> None:
    sources = sequences_of([[], [1]], [0, 1])
    written = rows_of(sources, sequences_of([]), np.array([[[0, 0]], [[2, 1]]]), patterns=1, search="s")
    assert _rows(written) == [(1, 1, [2, 1])]
    assert written.search == "s"
