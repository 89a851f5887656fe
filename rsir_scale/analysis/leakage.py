"""How much noise passes the fidelity check, counted on a planted market, and held against the paper's breakdown point.

Comes in: a run on a dataset that `rsir data synthesize` wrote, and the seed of that. Goes out: for each generation the
share of its generated items that the planted preferences call noise, beside the same share of real steps and of steps
drawn evenly from the catalogue; and for each step of the recursion what Eq. 16 to 18 make of it. The error of a model
is 1 - validation NDCG@20, E_max that of a ranking at random. Share and leakage of a step are over all that was
generated until then, since D_{k+1} holds all of it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from rsir_scale.analysis.bound import Step
from rsir_scale.data.dataset import PreparedDataset, Sequences, from_arrow
from rsir_scale.data.schema import ITEMS, SEQUENCE_ID
from rsir_scale.data.sequences import Int64Array
from rsir_scale.data.split import put_back
from rsir_scale.data.synthetic import Market
from rsir_scale.errors import InputError
from rsir_scale.evaluation.metrics import per_user
from rsir_scale.randomness import Purpose, uniforms
from rsir_scale.runs.columns import SOURCE_SEQUENCE_ID, START_LENGTH
from rsir_scale.runs.lineage import committed_files
from rsir_scale.runs.manifest import Manifest
from rsir_scale.runs.owners import kept_rows, owners
from rsir_scale.runs.run import Run
from rsir_scale.runs.selection import SELECTION_CUTOFF, SELECTION_METRIC, SELECTION_NAME

_USERS_COMPARED = 1000


@dataclass(frozen=True)
class Steps:
    """Items that follow others: of whom, after what.

    Attributes:
        users: int64[N].
        before: int64[N], the item before; 0 is none.
        items: int64[N].
        sequences: int64[N], ids of the sequences that they stand in.
        positions: int64[N], where, from 0.
    """

    users: Int64Array
    before: Int64Array
    items: Int64Array
    sequences: Int64Array
    positions: Int64Array


@dataclass(frozen=True)
class Leak:
    """What one generation let through; shares are None where it accepted nothing.

    Attributes:
        accepted: generated items of the rows that were kept.
        noise: how many of these the planted preferences call noise.
        by_chance: how many of as many, drawn evenly from the catalogue after the same items, they would.
    """

    accepted: int
    noise: int
    by_chance: int


def planted_market(dataset: PreparedDataset, seed: int) -> Market:
    """Return the market that a dataset was drawn from.

    Raises:
        InputError: its sequences are not those of this seed.
    """
    market = Market(dataset.meta.items, seed)
    held_out = dataset.held_out()
    whole = put_back(dataset.training_sequences(), held_out.validation, held_out.test)
    some = whole.select(np.arange(min(_USERS_COMPARED, len(whole))))
    if not np.array_equal(market.sequences(some.ids).items, some.items):
        raise InputError(
            f"{dataset.path} is not the market of seed {seed}: give the --seed that `rsir data synthesize` had; other "
            "data have no planted preferences to count by"
        )
    return market


def leaks(run: Run, market: Market, generations: int) -> Iterator[Leak]:
    """Count what each generation of a run let through, in order.

    Args:
        run: on a planted market.
        market: which its data were drawn from.
        generations: how many the run has settled.

    Raises:
        IntegrityError: a part is damaged.
    """
    known = owners(run, generations)
    for iteration in range(generations):
        accepted = noise = by_chance = 0
        columns = [SEQUENCE_ID, ITEMS, SOURCE_SEQUENCE_ID, START_LENGTH]
        for table in kept_rows(run.store, committed_files(run.store, iteration), columns):
            start = table.column(START_LENGTH).to_numpy().astype(np.int64)
            rows = from_arrow(table)
            steps = steps_of(rows, known.of(rows.ids), start)
            drawn = uniforms(iteration, steps.sequences, steps.positions, Purpose.PROBE)
            accepted += len(steps.items)
            noise += noise_in(market, steps)
            by_chance += noise_in(market, replace(steps, items=(drawn * run.dataset.meta.items).astype(np.int64) + 1))
        yield Leak(accepted, noise, by_chance)


def steps_of(sequences: Sequences, users: Int64Array, start: Int64Array) -> Steps:
    """Return the items of N sequences from position `start[i]` on, each after the one before it.

    Args:
        sequences: N sequences.
        users: int64[N], whose they are.
        start: int64[N].
    """
    row = np.repeat(np.arange(len(sequences)), sequences.lengths)
    position = np.arange(len(sequences.items)) - sequences.offsets[:-1][row]
    chosen = np.flatnonzero(position >= start[row])
    items = sequences.items.astype(np.int64)
    before = np.where(position[chosen] > 0, items[chosen - 1], 0)
    return Steps(users[row[chosen]], before, items[chosen], sequences.ids[row[chosen]], position[chosen])


def noise_in(market: Market, steps: Steps) -> int:
    """Count the items that the planted preferences would not have chosen."""
    return int((~market.prefers(steps.users, steps.before, steps.items)).sum())


def real_noise(market: Market, training: Sequences) -> float:
    """Return the share of noise among the real items after the first: by design a twentieth, and a little more."""
    steps = steps_of(training, training.ids, np.ones(len(training), dtype=np.int64))
    return noise_in(market, steps) / max(1, len(steps.items))


def worst_error(item_count: int) -> float:
    """Return the error of a ranking at random."""
    ranks = np.arange(1, item_count + 1)
    return 1.0 - float(per_user(ranks, metric=SELECTION_NAME, cutoff=SELECTION_CUTOFF).mean())


def against_breakdown(
    manifests: Sequence[Manifest], found: Sequence[Leak], *, real_pairs: int, item_count: int
) -> list[dict[str, Any]]:
    """Hold each step of a run against the bound.

    Args:
        manifests: of theta_0, theta_1, … of one run, all evaluated.
        found: what each of their generations let through.
        real_pairs: training pairs of D_0.
        item_count: V.

    Returns:
        For each step from theta_k to theta_{k+1}: `iteration` k, `share`, `leakage`, `error`, `next_error`, `rho` as it
        turned out, `foretold_with`, the rho of the step before, with `breakdown` and `limit` by it, `foretold`, whether
        leakage lies below the breakdown point, `fell`, whether the error did, and `right`, whether they agree. Without
        a step before, what is foretold is None. Steps that generated nothing are left out.
    """
    told: list[dict[str, Any]] = []
    errors = [1.0 - manifest.metrics[SELECTION_METRIC] for manifest in manifests]
    rho: float | None = None
    pairs, accepted, noise = real_pairs, 0, 0
    for number, (error, next_error) in enumerate(pairwise(errors)):
        written = manifests[number].generation
        if written is None or number >= len(found):
            break
        pairs += written.pairs - written.replaced_pairs
        accepted, noise = accepted + found[number].accepted, noise + found[number].noise
        if not accepted or pairs <= real_pairs:
            continue
        step = Step(1.0 - real_pairs / pairs, noise / accepted, error, errors[0], worst_error(item_count))
        told.append({"iteration": number} | _told(step, next_error, rho))
        rho = told[-1]["rho"]
    return told


def _told(step: Step, next_error: float, earlier: float | None) -> dict[str, Any]:
    breakdown = None if earlier is None else step.breakdown(earlier)
    foretold = None if breakdown is None else step.leakage < breakdown
    fell = next_error < step.error
    return {
        "share": step.share,
        "leakage": step.leakage,
        "error": step.error,
        "next_error": next_error,
        "rho": step.contraction(next_error),
        "foretold_with": earlier,
        "breakdown": breakdown,
        "limit": None if earlier is None else step.limit(earlier),
        "foretold": foretold,
        "fell": fell,
        "right": None if foretold is None else foretold == fell,
    }
