"""Trials are handed out longest sources first, a source's side by side, whatever the portions."""

from dataclasses import fields

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rsir_scale.augmenters.rsir import waiting
from rsir_scale.augmenters.rsir.decode import Decoded, decode
from rsir_scale.augmenters.rsir.state import DecodingRows
from rsir_scale.augmenters.rsir.waiting import Waiting
from rsir_scale.ranking.exact import ExactSearch
from tests.augmenters.rsir.worlds import World, few_examples, worlds


def _waiting(world: World) -> Waiting:
    return Waiting(world.sources, world.rules, identity=world.identity, device=torch.device("cpu"))


def _columns(rows: DecodingRows) -> dict[str, torch.Tensor]:
    every = {**vars(rows), **vars(rows.evidence)}
    return {name: column for name, column in every.items() if name != "evidence"}


@few_examples
@given(world=worlds(), portions=st.lists(st.integers(0, 9), min_size=1), block=st.integers(1, 12))
def test_the_trials_are_the_same_in_any_portions(world: World, portions: list[int], block: int) -> None:
    everything = _waiting(world).next(10_000)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(waiting, "_SET_UP_AT_ONCE", block)
        handed, queue = [], _waiting(world)
        for count in [*portions, 10_000]:
            left = len(queue)
            handed.append(queue.next(count, width=everything.context_BL.shape[1]))
            assert len(handed[-1]) == min(count, left) == left - len(queue)
    for name, column in _columns(everything).items():
        assert torch.equal(torch.cat([_columns(rows)[name] for rows in handed]), column), name
    lengths = world.sources.lengths[everything.source_B.numpy()]
    assert (np.diff(lengths) <= 0).all()
    trials = world.rules.trials_per_sequence
    assert everything.trial_B.tolist() == list(range(trials)) * len(world.sources)


@few_examples
@given(world=worlds(), block=st.integers(1, 12))
def test_how_many_are_set_up_at_once_changes_nothing(world: World, block: int) -> None:
    def decoded() -> Decoded:
        search = ExactSearch(world.backbone.item_vectors())
        return decode(world.backbone, search, world.sources, world.rules, identity=world.identity)

    expected = decoded()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(waiting, "_SET_UP_AT_ONCE", block)
        found = decoded()
    for field in fields(Decoded):
        if field.name not in ("tally", "encoder"):
            assert np.array_equal(getattr(found, field.name), getattr(expected, field.name)), field.name


@given(world=worlds())
def test_own_items_are_the_distinct_ones_by_index_and_those_of_the_start_are_used(world: World) -> None:
    rows = _waiting(world).next(10_000)
    for row in range(len(rows)):
        source = world.sources.row(int(rows.source_B[row])).tolist()
        start = int(rows.start_B[row])
        own = rows.own_BR[row]
        assert own[own > 0].tolist() == sorted(set(source))
        assert set(own[rows.used_BR[row]].tolist()) == set(source[:start])
        assert rows.context_BL[row, :start].tolist() == source[:start]
