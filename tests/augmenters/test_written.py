"""The rules that every row keeps, each broken once."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from rsir_scale.augmenters.written import BrokenContractError, Written, check_written
from rsir_scale.data.sequences import Sequences
from tests.augmenters.rsir.worlds import sequences_of

ITEMS, TRIALS = 9, 2
SOURCES = sequences_of([[1, 2], [3], [4, 5, 6]], [70, 80, 90])
EVIDENCE = pa.schema([("why", pa.string())])
# Rows (70, 0): 2 1, (90, 0): 4 6 5, (90, 1): 7 8.
GOOD = Written(
    source=np.array([0, 2, 2]),
    trial=np.array([0, 0, 1]),
    offsets=np.array([0, 2, 5, 7]),
    items=np.array([2, 1, 4, 6, 5, 7, 8], dtype=np.int32),
    stops={"copy": 1, "too_short": 2},
    start_length=np.array([0, 1, 2]),
    first_target=np.array([1, 2, 1]),
    evidence={"why": pa.array(["a", "b", "c"])},
)
Breaking = dict[str, object]


def check(written: Written, *, sources: Sequences = SOURCES, known: tuple[int, ...] = tuple(range(1, 9))) -> None:
    known_V = np.zeros(ITEMS + 1, dtype=np.bool_)
    known_V[list(known)] = True
    check_written(written, sources, trials=TRIALS, item_count=ITEMS, known_V=known_V, evidence=EVIDENCE)


def changed(name: str, place: int, value: int) -> Callable[[], Breaking]:
    def broken() -> Breaking:
        values = getattr(GOOD, name).copy()
        values[place] = value
        return {name: values}

    return broken


def test_rows_that_keep_all_rules_pass() -> None:
    check(GOOD)
    check_written(GOOD, SOURCES, trials=TRIALS, item_count=ITEMS, known_V=None, evidence=EVIDENCE)


def test_no_rows_at_all_pass_where_every_trial_stopped() -> None:
    nothing = Written(np.empty(0, np.int64), np.empty(0, np.int64), np.zeros(1, np.int64), np.empty(0, np.int32))
    check_written(
        replace(nothing, stops={"copy": 6}),
        SOURCES,
        trials=TRIALS,
        item_count=ITEMS,
        known_V=None,
        evidence=pa.schema([]),
    )


@pytest.mark.parametrize(
    ("breaking", "told"),
    [
        (lambda: {"trial": GOOD.trial[:2]}, "3 rows have 2 trials"),
        (lambda: {"offsets": GOOD.offsets[:3]}, "offsets that do not cut 7 items"),
        (changed("offsets", 0, 1), "offsets that do not cut"),
        (changed("offsets", 3, 6), "offsets that do not cut"),
        (changed("offsets", 1, 6), "offsets that do not cut"),
        (lambda: {"start_length": GOOD.start_length[:2]}, r"another length \(start_length\)"),
        (lambda: {"first_target": GOOD.first_target[:2]}, r"another length \(first_target\)"),
        (lambda: {"evidence": {"why": pa.array(["a"])}}, r"another length \(why\)"),
        (lambda: {"evidence": {"why": pa.array([1, 2, 3])}}, "why is int64, and string is declared"),
        (lambda: {"items": GOOD.items.astype(np.int64)}, "items are int64, and int32 is wanted"),
        (lambda: {"evidence": {}}, r"evidence \[\] where \['why'\]"),
        (lambda: {"evidence": {**GOOD.evidence, "more": GOOD.evidence["why"]}}, r"evidence \['more', 'why'\]"),
        (changed("source", 0, -1), "a row without a source: -1 of 3"),
        (changed("source", 2, 3), "a row without a source: 3 of 3"),
        (changed("trial", 2, 2), r"source 90: a trial is not in 0\.\.1"),
        (changed("trial", 0, -1), r"source 70: a trial is not in 0\.\.1"),
        (changed("trial", 2, 0), "source 90: rows do not rise"),
        (changed("source", 2, 0), "source 70: rows do not rise"),
        (changed("offsets", 2, 6), "source 90: a row has fewer than 2 items"),
        (changed("items", 3, 0), r"source 90: an item is not in 1\.\.9"),
        (changed("items", 1, 10), r"source 70: an item is not in 1\.\.9"),
        (changed("items", 6, 9), "source 90: an item occurs in no training sequence"),
        (changed("start_length", 0, -1), r"source 70: start_length is not in 0\.\.length"),
        (changed("start_length", 1, 4), r"source 90: start_length is not in 0\.\.length"),
        (changed("first_target", 0, 0), r"source 70: first_target is not in 1\.\.length - 1"),
        (changed("first_target", 1, 3), r"source 90: first_target is not in 1\.\.length - 1"),
        (lambda: {"stops": {"copy": 2}}, "3 sources with 2 trials each, but 3 rows and 2 stops"),
        (lambda: {"stops": {"copy": 4}}, "3 rows and 4 stops"),
    ],
)
def test_a_broken_rule_is_named_with_the_source_that_breaks_it(breaking: Callable[[], Breaking], told: str) -> None:
    with pytest.raises(BrokenContractError, match=told):
        check(replace(GOOD, **breaking()))
