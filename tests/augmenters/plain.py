"""Each simple augmenter in the plainest Python: one sequence, one trial, one number at a time, by the same draws."""

import math
from collections.abc import Callable, Sequence

from rsir_scale.augmenters.written import Written
from rsir_scale.data.sequences import Sequences
from rsir_scale.randomness import Purpose, uniforms

# Draws one number for a purpose, and for a position where there is one.
Draw = Callable[..., float]
Row = tuple[int, int, int, list[int]]


def draw_of(identity: tuple[int, int], source: int, trial: int) -> Draw:
    """The draws of one trial."""

    def draw(purpose: Purpose, position: int | None = None) -> float:
        where = () if position is None else (position,)
        return float(uniforms(*identity, source, trial, *where, purpose))

    return draw


def rows_by(
    trial_of: Callable[[list[int], int, Draw], list[int]],
    sources: Sequences,
    *,
    trials: int,
    identity: tuple[int, int],
    keep_copies: bool = False,
) -> list[Row]:
    """(source, trial, leading items of the source, items) of each row that a trial of a source leaves."""
    rows = []
    for source, sequence_id in enumerate(sources.ids):
        items = sources.row(source).tolist()
        for trial in range(trials):
            row = trial_of(items, trial, draw_of(identity, int(sequence_id), trial))
            if len(row) >= 2 and (keep_copies or row != items):
                rows.append((source, trial, shared_prefix(row, items), row))
    return rows


def rows_of(written: Written) -> list[Row]:
    """The same of what an augmenter returned."""
    assert written.start_length is not None
    return [
        (
            int(written.source[row]),
            int(written.trial[row]),
            int(written.start_length[row]),
            written.items[written.offsets[row] : written.offsets[row + 1]].tolist(),
        )
        for row in range(len(written))
    ]


def shared_prefix(one: Sequence[int], other: Sequence[int]) -> int:
    """How many leading items are the same."""
    length = 0
    while length < min(len(one), len(other)) and one[length] == other[length]:
        length += 1
    return length


def reorder(items: list[int], draw: Draw, *, percent: int) -> list[int]:
    """Shuffle a window of `percent` of the items, rounded up, and of two at least."""
    window = min(len(items), max(2, -(-percent * len(items) // 100)))
    start = int(draw(Purpose.WINDOW) * (len(items) - window + 1))
    places = sorted(range(start, start + window), key=lambda place: draw(Purpose.ORDER, place))
    return items[:start] + [items[place] for place in places] + items[start + window :]


def insert(
    items: list[int], draw: Draw, *, percent: int, neighbours: dict[int, int], known: list[int], longest: int
) -> list[int]:
    """Put a neighbour, or any item where there is none, before `percent` of the items, and before one at least."""
    count = min(len(items), max(1, percent * len(items) // 100))
    chosen = sorted(range(len(items)), key=lambda place: draw(Purpose.PLACE, place))[:count]
    row = []
    for place, item in enumerate(items):
        if place in chosen:
            row.append(neighbours[item] or known[int(draw(Purpose.FILL, place) * len(known))])
        row.append(item)
    return row[-longest:]


def thin(items: list[int], draw: Draw) -> list[int]:
    """Leave out each item with a probability that is drawn first, a half at most."""
    share = draw(Purpose.AUGMENT) / 2
    return [item for place, item in enumerate(items) if draw(Purpose.COIN, place) >= share]


def slide(items: list[int], trial: int, *, window: int, stride: int) -> list[int]:
    """The window that ends `trial` strides before the latest one."""
    latest = len(items) if len(items) > window else len(items) - stride
    end = max(0, latest - trial * stride)
    return items[max(0, end - window) : end]


def together(rows: list[list[int]]) -> dict[tuple[int, int], float]:
    """How much each two items occur together, by CoSeRec's formula."""
    holders: dict[int, int] = {}
    shared: dict[tuple[int, int], float] = {}
    for items in map(set, rows):
        for one in items:
            holders[one] = holders.get(one, 0) + 1
            for other in items - {one}:
                shared[one, other] = shared.get((one, other), 0.0) + 1 / math.log(1 + len(items))
    return {(one, other): score / math.sqrt(holders[one] * holders[other]) for (one, other), score in shared.items()}


def products(known: list[int], vectors: list[list[float]]) -> dict[tuple[int, int], float]:
    """The inner products of the vectors of each two items."""
    return {
        (one, other): sum(a * b for a, b in zip(vectors[one], vectors[other], strict=True))
        for one in known
        for other in known
        if one != other
    }


def nearest(known: list[int], scores: dict[tuple[int, int], float]) -> dict[int, tuple[int, float]]:
    """Each item's best partner, and its score on a scale from the least of all scores, 0, to the greatest, 1."""
    low, high = min(scores.values(), default=0.0), max(scores.values(), default=0.0)
    found = {}
    for item in known:
        partners = [(score, -other) for (one, other), score in scores.items() if one == item]
        if not partners:
            found[item] = (0, -math.inf)
            continue
        score, other = max(partners)
        found[item] = (-other, (score - low) / (high - low) if high > low else 1.0)
    return found
