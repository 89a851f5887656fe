"""The decoder, batched, refilled and in one pass, ends each trial where the literal reference ends it."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given

from rsir_scale.augmenters.rsir.decode import Decoded, decode
from rsir_scale.augmenters.rsir.rules import cut_sources
from rsir_scale.augmenters.rsir.state import StopReason
from rsir_scale.data.dataset import Sequences
from rsir_scale.ranking.exact import ExactSearch
from tests.augmenters.rsir.literal import Literal, Trial
from tests.augmenters.rsir.worlds import PAPER, RELEASED, World, sasrec, sequences_of, worlds

TALLY = {"steps": "steps", "own": "chosen_own", "other": "chosen_other", "true": "chosen_true"}


def _decoded(world: World) -> tuple[Decoded, Sequences]:
    cut = cut_sources(world.sources, world.rules)
    usable = cut.select(np.flatnonzero(cut.lengths >= 2))
    search = ExactSearch(world.backbone.item_vectors())
    return decode(world.backbone, search, usable, world.rules, identity=world.identity), usable


def _literal(world: World) -> list[Trial]:
    reference = Literal(world.items, world.query_of(), world.rules, world.identity)
    trials = []
    for row, sequence_id in enumerate(world.sources.ids):
        source = world.sources.row(row).tolist()
        source = source[: len(source) - world.rules.source_items_left_out]
        if len(source) >= 2:
            trials += [reference.trial(source, int(sequence_id), t) for t in range(world.rules.trials_per_sequence)]
    return trials


def _assert_same(world: World) -> None:
    decoded, usable = _decoded(world)
    expected = _literal(world)
    trials = world.rules.trials_per_sequence
    assert decoded.source.tolist() == np.repeat(np.arange(len(usable)), trials).tolist()
    assert decoded.trial.tolist() == list(range(trials)) * len(usable)
    for row, trial in enumerate(expected):
        start, length = int(decoded.start_length[row]), int(decoded.length[row])
        assert decoded.context[row, :length].tolist() == trial.context
        assert not decoded.context[row, length:].any()
        assert start == trial.start
        assert StopReason(decoded.stop[row]).name == trial.stop
        assert decoded.better[row, start:length].tolist() == trial.better
        assert decoded.explored[row, start:length].tolist() == trial.explored
        vouchers = decoded.voucher[row, start:length].tolist()
        assert all(item in best for item, best in zip(vouchers, trial.vouchers, strict=True)), vouchers
    _assert_same_tally(decoded, expected)


def _assert_same_tally(decoded: Decoded, expected: list[Trial]) -> None:
    counts: Counter[str] = Counter()
    for trial in expected:
        counts.update(trial.counts)
    tally = decoded.tally.as_counts()
    for name, field in TALLY.items():
        accepted = field.replace("chosen", "accepted") if name != "steps" else "accepted_steps"
        assert (tally[field], tally[accepted]) == (counts[name], counts["accepted " + name]), name


@given(worlds())
def test_decoding_equals_the_literal_reference(world: World) -> None:
    _assert_same(world)


@pytest.mark.parametrize("rules", [PAPER, RELEASED], ids=["paper", "released"])
@pytest.mark.parametrize("remaining", ["before_choice", "after_choice"])
def test_a_whole_small_market_is_decoded_like_the_literal_reference(rules, remaining: str) -> None:
    numbers = np.random.default_rng(7)
    rows = [numbers.integers(1, 61, numbers.integers(2, 12)).tolist() for _ in range(60)]
    world = World(
        backbone=sasrec(60, seed=3),
        sources=sequences_of(rows),
        rules=replace(rules, own_vouches_for_itself=remaining == "before_choice", rank_threshold=9, batch_size=16),
        identity=(2023, 1),
    )
    _assert_same(world)
    decoded, _ = _decoded(world)
    # The comparison would be empty if nothing ever grew or nothing was ever refused.
    assert 0 < decoded.tally.accepted_steps < decoded.tally.steps
    assert (decoded.length > decoded.start_length + 1).any()


def test_a_coin_that_parts_trials_at_one_context_leaves_each_what_the_literal_reference_leaves_it() -> None:
    numbers = np.random.default_rng(11)
    rows = [numbers.permutation(np.arange(1, 31))[:9].tolist() for _ in range(20)]
    # Greedy trials of one prefix go the same way until their coins differ.
    tossing = replace(
        PAPER, rank_threshold=None, acceptance=0.6, greedy=True, start_at_prefix=False, trials_per_sequence=6
    )
    for exploit_prob in (0.0, 1.0):
        rules = replace(tossing, exploit_prob=exploit_prob)
        world = World(sasrec(30, seed=5), sequences_of(rows), rules, (2023, 0))
        _assert_same(world)
