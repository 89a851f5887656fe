"""What any decoding must show, whatever the model: pools, thresholds, batches, and a check that has power."""

from dataclasses import fields, replace
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from rsir_scale.augmenters.rsir.decode import Decoded, decode
from rsir_scale.augmenters.rsir.rules import Rules
from rsir_scale.augmenters.rsir.state import StopReason
from rsir_scale.models.base import Backbone
from rsir_scale.ranking.build import clustered_search
from rsir_scale.ranking.clusters import Clusters
from rsir_scale.ranking.exact import ExactSearch
from rsir_scale.training.worker import Worker
from tests.augmenters.rsir.worlds import PAPER, RELEASED, World, few_examples, sasrec, sequences_of, worlds
from tests.training.market import ITEMS, fit, market, task, trained_backbone


def _decode(world: World, **changes: object) -> Decoded:
    rules = replace(world.rules, **changes)
    search = ExactSearch(world.backbone.item_vectors())
    return decode(world.backbone, search, world.sources, rules, identity=world.identity)


def _contexts(decoded: Decoded) -> list[list[int]]:
    rows = zip(decoded.context, decoded.length, strict=True)
    return [context[:length].tolist() for context, length in rows]


@few_examples
@given(world=worlds())
def test_exploitation_alone_never_leaves_the_users_items(world: World) -> None:
    decoded = _decode(world, exploit_prob=1.0)
    for row, context in enumerate(_contexts(decoded)):
        assert set(context) <= set(world.sources.row(int(decoded.source[row])).tolist())
    assert not decoded.explored.any()
    assert decoded.tally.chosen_other == 0


@few_examples
@given(world=worlds())
def test_exploration_alone_explores_each_step(world: World) -> None:
    decoded = _decode(world, exploit_prob=0.0)
    for row in range(len(decoded.source)):
        assert decoded.explored[row, decoded.start_length[row] : decoded.length[row]].all()


@few_examples
@given(world=worlds())
def test_a_laxer_threshold_lets_each_trial_go_at_least_as_far(world: World) -> None:
    thresholds = [*range(1, min(5, world.backbone.item_count)), None]
    decoded = [_contexts(_decode(world, rank_threshold=threshold, acceptance=None)) for threshold in thresholds]
    for strict, lax in pairwise(decoded):
        assert all(long[: len(short)] == short for short, long in zip(strict, lax, strict=True))


@few_examples
@given(world=worlds())
def test_without_the_check_everything_is_accepted(world: World) -> None:
    decoded = _decode(world, rank_threshold=None, acceptance=None)
    assert decoded.tally.accepted_steps == decoded.tally.steps
    assert StopReason.FIDELITY not in decoded.stop


@few_examples
@given(world=worlds(), batch_size=st.sampled_from([1, 3, 500]))
def test_the_batch_size_changes_nothing(world: World, batch_size: int) -> None:
    one, other = _decode(world), _decode(world, batch_size=batch_size)
    for field in fields(Decoded):
        if field.name not in ("tally", "encoder"):
            assert np.array_equal(getattr(one, field.name), getattr(other, field.name)), field.name
    assert one.tally == other.tally


@few_examples
@given(world=worlds(), data=st.data())
def test_a_source_is_decoded_alike_in_any_company_and_order(world: World, data: st.DataObject) -> None:
    rows = data.draw(st.permutations(range(len(world.sources))))[: data.draw(st.integers(1, len(world.sources)))]
    trials = world.rules.trials_per_sequence
    everyone = _contexts(_decode(world))
    few = _contexts(_decode(replace(world, sources=world.sources.select(rows))))
    assert few == [everyone[row * trials + trial] for row in rows for trial in range(trials)]


@few_examples
@given(world=worlds())
def test_repeats_are_chosen_only_where_they_are_allowed(world: World) -> None:
    decoded = _decode(world, allow_repeats=False)
    for row, context in enumerate(_contexts(decoded)):
        start = int(decoded.start_length[row])
        assert all(item not in context[:place] for place, item in enumerate(context) if place >= start)


def test_an_item_is_not_chosen_twice_where_the_coins_of_trials_at_one_context_differ() -> None:
    rules = replace(
        PAPER,
        start_at_prefix=False,
        exploit_prob=1.0,
        temperature=100.0,
        trials_per_sequence=100,
        batch_size=100,
        rank_threshold=None,
        acceptance=0.7,
    )
    world = World(sasrec(8, seed=1), sequences_of([[1, 2, 3, 4, 5]]), rules, (3, 0))
    decoded = _decode(world)
    assert all(len(set(context)) == len(context) for context in _contexts(decoded))
    assert _contexts(decoded) == _contexts(_decode(world, batch_size=1))


@cache
def _trained() -> Backbone:
    learned = task(max_epochs=10)
    return trained_backbone(learned, fit(learned, Worker()))


def _acceptance(rules: Rules) -> float:
    sources = market().training_sequences().select(range(100))
    tally = decode(_trained(), ExactSearch(_trained().item_vectors()), sources, rules, identity=(1, 0)).tally
    return tally.accepted_steps / tally.steps


@pytest.mark.parametrize("reading", [PAPER, RELEASED], ids=["paper", "released"])
def test_items_chosen_by_the_model_pass_more_often_than_uniform_random_ones(reading: Rules) -> None:
    chosen = replace(
        reading,
        own_vouches_for_itself=False,
        greedy=False,
        exploit_prob=0.0,
        top_candidates=ITEMS,
        rank_threshold=4,
        batch_size=256,
    )
    # Softmax at an endless temperature is uniform over all that is not in the context.
    uniform = replace(chosen, temperature=1e9)
    assert _acceptance(chosen) > _acceptance(uniform) + 0.05


@pytest.mark.parametrize(("semantics", "tau", "share"), [("count", 3, 1), ("count", 2, 0), ("membership", 3, None)])
def test_checks_that_saw_fewer_items_than_the_threshold_are_counted(semantics, tau: int, share: int | None) -> None:
    items_VD = _trained().item_vectors()
    alone = Clusters(torch.arange(ITEMS, dtype=torch.int32), F.pad(items_VD[1:], (0, 1)))
    search = clustered_search(items_VD, alone, nprobe=2, semantics=semantics)
    rules = replace(PAPER, rank_threshold=tau, batch_size=64)
    sources = market().training_sequences().select(range(50))
    tally = decode(_trained(), search, sources, rules, identity=(1, 0)).tally
    assert tally.steps > 0
    if share is None:
        # An item of no probed cluster cannot vouch, and then the check fails all the same.
        assert 0 < tally.unfailing_steps == tally.accepted_steps < tally.steps
    else:
        assert tally.unfailing_steps == share * tally.accepted_steps


def test_no_sources_give_no_trials() -> None:
    world = World(_trained(), market().training_sequences().select([]), PAPER, (1, 0))
    decoded = _decode(world)
    assert len(decoded.source) == 0
    assert decoded.tally.steps == 0
