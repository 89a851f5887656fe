"""Mining: which short patterns several sequences share, and a few of them for each sequence that holds any.

Comes in: training sequences. Goes out: pairs (sequence, pattern). A pattern is 2 items or more in their order, other
items may stand between them, and first and last are less than `span` positions apart; it counts where `support`
sequences hold it so. A sequence gets at most `most` of its patterns, drawn by identity: so pairs depend on the set of
sequences alone, never on their order.

Patterns grow item by item, and only those that are frequent grow on: what begins a frequent pattern is frequent itself.
Patterns of different first items have nothing in common, so they are mined apart, some first items at a time. That
bounds the memory by the occurrences of these items, the pairs kept, and the sequences themselves.

Shapes: N occurrences of patterns, G items of the longest pattern (`span`).

Source: Yin et al., "Dataset Regeneration for Sequential Recommendation", KDD 2024, Sec. 4.1.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from rsir_scale.data.sequences import Int32Array, Int64Array, Sequences, offsets_of
from rsir_scale.randomness import Purpose, fold, fold_into

_POSITIONS = 1 << 19  # first items whose patterns are mined together; an item that occurs more often is mined alone


@dataclass(frozen=True, eq=False)
class _Found:
    """N pairs of a sequence and a pattern that it holds.

    Attributes:
        row: int64[N], position of the sequence.
        items_NG: int32[N, G], the pattern, 0 after its end.
    """

    row: Int64Array
    items_NG: Int32Array

    def select(self, chosen: Int64Array) -> "_Found":
        return _Found(self.row[chosen], self.items_NG[chosen])


@dataclass(frozen=True, eq=False)
class _Occurrences:
    """N places where patterns of one length stand.

    Attributes:
        pattern: int64[N], number of the pattern among those of its length.
        first, last: int64[N], positions of its first and last item among the items of all sequences.
    """

    pattern: Int64Array
    first: Int64Array
    last: Int64Array


def mine_pairs(sequences: Sequences, *, span: int, support: int, most: int, identity: tuple[int, int]) -> Sequences:
    """Find each sequence's patterns.

    Args:
        sequences: N training sequences with distinct ids.
        span: items, at least 2, among which a pattern must stand.
        support: sequences that must hold a pattern.
        most: patterns that a sequence gets at the most.
        identity: (seed, iteration), which keys the draw of them.

    Returns:
        One row a pair, by rising id of the sequence and then in the order of the draw; `ids` are those of the
        sequences, repeated, `items` the patterns.

    Source: KDD 2024, Sec. 4.1; the authors' code takes a sequence also where a pattern stands in it across more than
    `span` items, which has no bound for long sequences.
    """
    kept = _Found(np.empty(0, np.int64), np.empty((0, span), np.int32))
    rows_of = np.repeat(np.arange(len(sequences)), sequences.lengths)
    for first in _first_positions(sequences.items):
        found = _mine(sequences, rows_of, first, span=span, support=support)
        kept = _drawn(_joined([kept, *found]), sequences.ids, most=most, identity=identity)
    lengths = (kept.items_NG > 0).sum(1)
    return Sequences(sequences.ids[kept.row], offsets_of(lengths), kept.items_NG[kept.items_NG > 0])


def holds_pattern(sequences: Sequences, span: int, support: int) -> bool:
    """Whether any pattern counts; looks no further than the first that does."""
    rows_of = np.repeat(np.arange(len(sequences)), sequences.lengths)
    return any(
        len(found.row)
        for first in _first_positions(sequences.items)
        for found in _mine(sequences, rows_of, first, span=span, support=support)
    )


def _first_positions(items: Int32Array) -> Iterator[Int64Array]:
    """Positions of the items, all of an item together, some items at a time."""
    order = np.argsort(items, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(items[order])) + 1, len(order))
    begin = 0
    while begin < len(order):
        within = ends[(ends > begin) & (ends <= begin + _POSITIONS)]
        end = int(within[-1]) if len(within) else int(ends[np.searchsorted(ends, begin, side="right")])
        yield order[begin:end]
        begin = end


def _mine(sequences: Sequences, rows_of: Int64Array, first: Int64Array, *, span: int, support: int) -> Iterator[_Found]:
    """Pairs of all patterns that begin at some positions, pattern length by pattern length."""
    items, row_end = sequences.items, sequences.offsets[1:]
    here = _Occurrences(items[first].astype(np.int64), first, first)
    # The items of each pattern, by its number.
    known = np.arange(int(items.max(initial=0)) + 1, dtype=np.int32)[:, None]
    for _ in range(1, span):
        grown = _grown(here, span=span, stop=row_end[rows_of[here.first]])
        row, item = rows_of[grown.first], items[grown.last]
        # Sorted by pattern and sequence, equal pairs stand together.
        order = np.lexsort((row, item, grown.pattern))
        new_pattern = _changes(grown.pattern[order], item[order])
        new_pair = new_pattern | _changes(row[order])
        number = np.cumsum(new_pattern) - 1
        frequent = np.bincount(number[new_pair], minlength=1) >= support
        stay = frequent[number]
        renumbered = np.cumsum(frequent) - 1
        begins = order[new_pattern & stay]
        known = np.concatenate([known[grown.pattern[begins]], item[begins][:, None]], axis=1)
        here = _Occurrences(renumbered[number[stay]], grown.first[order[stay]], grown.last[order[stay]])
        pairs = new_pair[stay]
        patterns_NG = np.pad(known, ((0, 0), (0, span - known.shape[1])))
        yield _Found(row[order[stay]][pairs], patterns_NG[here.pattern[pairs]])


def _grown(here: _Occurrences, *, span: int, stop: Int64Array) -> _Occurrences:
    """Each occurrence with each item that may come next: behind its last one, in its span and in its sequence."""
    limit = np.minimum(here.first + span, stop)
    count = np.maximum(limit - here.last - 1, 0)
    parent = np.repeat(np.arange(len(count)), count)
    ahead = np.arange(len(parent)) - np.repeat(offsets_of(count)[:-1], count)
    return _Occurrences(here.pattern[parent], here.first[parent], here.last[parent] + 1 + ahead)


def _changes(*columns: np.ndarray) -> np.ndarray:
    """bool[N], where a row is the first or differs from the one before it."""
    changed = np.zeros(len(columns[0]), dtype=np.bool_)
    changed[:1] = True
    for column in columns:
        changed[1:] |= column[1:] != column[:-1]
    return changed


def _joined(found: list[_Found]) -> _Found:
    return _Found(np.concatenate([one.row for one in found]), np.concatenate([one.items_NG for one in found]))


def _drawn(found: _Found, ids: Int64Array, *, most: int, identity: tuple[int, int]) -> _Found:
    """At most `most` pairs of each sequence, those with the smallest draws, by id and draw."""
    draw = fold(*identity, ids[found.row], Purpose.ORDER)
    for column in found.items_NG.T:
        draw = fold_into(draw, column)
    source = ids[found.row]
    order = np.lexsort((draw, source))
    place = np.arange(len(order))
    begins = np.flatnonzero(_changes(source[order]))
    rank = place - np.repeat(begins, np.diff(np.append(begins, len(order))))
    return found.select(order[rank < most])
