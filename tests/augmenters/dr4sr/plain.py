"""DR4SR as anyone would first write it: one sequence at a time, everything encoded again at each step.

It shares the regenerator's layers and the draws with the package, and nothing that mines, batches, remembers or scans.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations

import torch

from rsir_scale.augmenters.dr4sr.network import Regenerator
from rsir_scale.augmenters.dr4sr.options import Dr4srOptions
from rsir_scale.randomness import Purpose, fold

Items = tuple[int, ...]


def patterns_in(items: Sequence[int], span: int) -> set[Items]:
    """Every pattern of a sequence, frequent or not."""
    return {
        (items[first], *(items[place] for place in places))
        for first in range(len(items))
        for length in range(1, span)
        for places in combinations(range(first + 1, min(first + span, len(items))), length)
    }


def mined(rows: dict[int, list[int]], options: Dr4srOptions, identity: tuple[int, int]) -> dict[int, list[Items]]:
    """The patterns that each sequence is given, by its id, in the order of their draws."""
    holders: dict[Items, set[int]] = defaultdict(set)
    for sequence_id, items in rows.items():
        for pattern in patterns_in(items, options.span):
            holders[pattern].add(sequence_id)

    def draw(sequence_id: int, pattern: Items) -> int:
        padded = pattern + (0,) * (options.span - len(pattern))
        return int(fold(*identity, sequence_id, Purpose.ORDER, *padded))

    return {
        sequence_id: sorted(
            (pattern for pattern, of in holders.items() if sequence_id in of and len(of) >= options.support),
            key=lambda pattern: draw(sequence_id, pattern),
        )[: options.patterns]
        for sequence_id in rows
    }


@torch.inference_mode()
def decoded(network: Regenerator, source: Sequence[int], options: Dr4srOptions) -> list[list[int]]:
    """One row from each memory of a source; the network is in double precision and evaluation mode."""
    single = network.tokens.weight.float().double().tolist()
    known = [token for token, allowed in enumerate(network.known_V.tolist()) if allowed]
    return [_row(network, source, memory, options, single, known) for memory in range(options.memories)]


def _row(
    network: Regenerator,
    source: Sequence[int],
    memory: int,
    options: Dr4srOptions,
    single: list[list[float]],
    known: list[int],
) -> list[int]:
    written: list[int] = []
    while source and len(written) < options.longest:
        query = _query(network, source, [network.begin, *written], memory)
        allowed = {*source, network.end} if len(written) < options.own_items else set(known)
        pool = sorted(allowed & set(known) - set(written))
        scores = {token: math.fsum(a * b for a, b in zip(query, single[token], strict=True)) for token in pool}
        best = max(pool, key=lambda token: (scores[token], -token))
        if best == network.end:
            break
        written.append(best)
    return written


def _query(network: Regenerator, source: Sequence[int], tokens: list[int], memory: int) -> list[float]:
    memory_1SD = network.remember(torch.tensor([source]))[:, :, memory]
    x_1TD = network.embedded(torch.tensor([tokens]), 0)
    for block in network.decoder:
        x_1TD = block(x_1TD, memory_1SD, None)
    query: list[float] = x_1TD[0, -1].float().double().tolist()
    return query


def written(
    rows: dict[int, list[int]], network: Regenerator, options: Dr4srOptions, identity: tuple[int, int]
) -> dict[tuple[int, int], list[int]]:
    """Every row that the sources leave, by id of the source and trial."""
    patterns = mined(rows, options, identity)
    found: dict[tuple[int, int], list[int]] = {}
    for sequence_id, items in rows.items():
        trials = dict(enumerate(list(pattern) for pattern in patterns[sequence_id]))
        trials |= {options.patterns + place: row for place, row in enumerate(decoded(network, items, options))}
        found |= {(sequence_id, trial): row for trial, row in trials.items() if len(row) >= 2 and row != items}
    return found
