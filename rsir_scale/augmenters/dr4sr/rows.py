"""The rows of some sources, from their patterns and from what was decoded: order, copies and stops.

Comes in: sources, pairs of source and pattern, and K decoded rows a source. Goes out: rows by source and trial; a
source's patterns are its trials 0, 1, … in the order of the pairs, the decoded rows its last K. What leaves no row is
counted: trials for which there is no further pattern, decoded rows of fewer than 2 items, and copies of the source.

Shapes: N sources, K decoded rows of each, L items of the longest, R rows.
"""

import numpy as np

from rsir_scale.augmenters.written import LEAST_ITEMS, BoolArray, Written
from rsir_scale.data.sequences import Int64Array, Sequences, concatenate, offsets_of

NO_PATTERN, TOO_SHORT, COPY = "no_pattern", "too_short", "copy"


def rows_of(sources: Sequences, pairs: Sequences, decoded_NKL: Int64Array, *, patterns: int, search: str) -> Written:
    """Put the rows together.

    Args:
        sources: N.
        pairs: patterns by rising id of their source, at most `patterns` for each.
        decoded_NKL: int64, items of each decoded row, 0 after its end.
        patterns: trials that are patterns.
        search: what scanned the items.
    """
    count, memories, _ = decoded_NKL.shape
    trials = patterns + memories
    mined, mined_number = _mined(sources, pairs, trials)
    made = _made(decoded_NKL)
    made_number = np.add.outer(np.arange(count) * trials, patterns + np.arange(memories)).ravel()
    every, number = concatenate([mined, made]), np.concatenate([mined_number, made_number])
    long_enough = every.lengths >= LEAST_ITEMS
    copy = _are_copies(every, sources, number // trials)
    stays = long_enough & ~copy
    order = np.argsort(number)
    kept = order[stays[order]]
    rows = every.select(kept)
    return Written(
        source=number[kept] // trials,
        trial=number[kept] % trials,
        offsets=rows.offsets,
        items=rows.items,
        stops={
            NO_PATTERN: count * patterns - len(mined),
            TOO_SHORT: int((~long_enough).sum()),
            COPY: int((long_enough & copy).sum()),
        },
        search=search,
    )


def _mined(sources: Sequences, pairs: Sequences, trials: int) -> tuple[Sequences, Int64Array]:
    """The patterns of the sources, and the number of each among all trials."""
    first, end = (np.searchsorted(pairs.ids, sources.ids, side=side) for side in ("left", "right"))
    source = np.repeat(np.arange(len(sources)), end - first)
    slot = np.arange(len(source)) - np.repeat(offsets_of(end - first)[:-1], end - first)
    return pairs.select(first[source] + slot), source * trials + slot


def _made(decoded_NKL: Int64Array) -> Sequences:
    """The decoded rows, source by source; their ids mean nothing."""
    items_RL = decoded_NKL.reshape(-1, decoded_NKL.shape[-1])
    lengths = (items_RL > 0).sum(1)
    return Sequences(np.arange(len(items_RL)), offsets_of(lengths), items_RL[items_RL > 0].astype(np.int32))


def _are_copies(rows: Sequences, sources: Sequences, source_R: Int64Array) -> BoolArray:
    """bool[R], where a row holds the items of its source and nothing else."""
    copies: BoolArray = rows.lengths == sources.lengths[source_R]
    alike = np.flatnonzero(copies)
    own, theirs = rows.select(alike), sources.select(source_R[alike])
    differs = np.add.reduceat(np.append(own.items != theirs.items, 0), own.offsets[:-1]) if len(alike) else alike
    copies[alike] = differs == 0
    return copies
