"""Figures of top-n lists against their definitions, one place at a time."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsir_scale.analysis.lists import FIGURES, Lists, describe, lists_of
from tests.analysis.worlds import sequences_of

ITEMS = 12


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[list[int]], list[list[int]], list[int]]:
    """Training rows, a list for each of some users (some shorter than others), and targets."""
    training = draw(st.lists(st.lists(st.integers(1, ITEMS), min_size=1, max_size=6), min_size=1, max_size=6))
    places = draw(st.integers(1, 5))
    one = st.lists(st.integers(1, ITEMS), max_size=places, unique=True)
    lists = [[*row, *[0] * (places - len(row))] for row in draw(st.lists(one, min_size=1, max_size=6))]
    targets = draw(st.lists(st.integers(0, ITEMS), min_size=len(lists), max_size=len(lists)))
    return training, lists, targets


def _lists(world: tuple[list[list[int]], list[list[int]], list[int]]) -> Lists:
    training, lists, targets = world
    return lists_of(np.array(lists), targets, sequences_of(training), item_count=ITEMS)


def _plain(world: tuple[list[list[int]], list[list[int]], list[int]]) -> dict[str, float]:
    training, lists, targets = world
    seen = Counter(item for row in training for item in row)
    users = Counter(item for row in training for item in set(row))
    listed = [[item for item in row if item] for row in lists]
    shown = Counter(item for row in listed for item in row)
    total = sum(shown.values())
    order = sorted(set(seen.values()), reverse=True)

    def mean(value: object) -> float:
        means = [
            sum(value(item, place, target) for place, item in enumerate(row, 1)) / len(row)
            for row, target in zip(listed, targets, strict=True)
            if row
        ]
        return sum(means) / max(1, len(means))

    def surprise(item: int, place: int, target: int) -> float:
        if item != target:
            return 0.0
        known = (ITEMS + 1 - (order.index(seen[item]) + 1)) / ITEMS if seen[item] else 0.0
        return max((ITEMS + 1 - place) / ITEMS - known, 0.0)

    apart = sum(abs(shown[one] - shown[other]) for one in range(1, ITEMS + 1) for other in range(1, ITEMS + 1))
    return {
        "coverage": len(shown) / ITEMS,
        "gini": apart / (2 * ITEMS * total) if total else 0.0,
        "novelty": mean(lambda item, *_: -math.log2(max(1, users[item]) / len(training))),
        "popularity": mean(lambda item, *_: seen[item]),
        "serendipity": mean(surprise),
    }


@given(world=worlds())
def test_every_figure_follows_its_definition(world: tuple[list[list[int]], list[list[int]], list[int]]) -> None:
    lists, expected = _lists(world), _plain(world)
    assert {name: figure(lists) for name, figure in FIGURES.items()} == pytest.approx(expected, abs=1e-12)


def test_a_description_names_the_length_of_the_lists() -> None:
    found = describe(_lists(([[1, 2]], [[3, 4, 0]], [3])))
    assert set(found) == {f"{name}@3" for name in FIGURES}


def test_lists_without_any_item_are_described_all_the_same() -> None:
    assert set(describe(_lists(([[1]], [[0, 0]], [1]))).values()) == {0.0}
