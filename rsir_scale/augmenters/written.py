"""What an augmenter gives back for some sources, and the rules that every row must keep.

Comes in: rows and what became of the trials without one. Goes out: the same, or an error that names the first source
whose rows break a rule. The error is an ordinary one, so that `augmenters.quarantine` sets that source aside and keeps
the others.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from rsir_scale.data.sequences import Int32Array, Int64Array, Sequences

BoolArray = npt.NDArray[np.bool_]
LEAST_ITEMS = 2  # a row of one item has nothing to predict


class BrokenContractError(Exception):
    """An augmenter returned rows that no run may hold."""


@dataclass(frozen=True, eq=False)
class Written:
    """Rows that came of N sources, ordered by (source, trial), and the trials that left none.

    Attributes:
        source: int64[R], the source of each row, a position 0..N-1.
        trial: int64[R], its trial, 0..m-1.
        offsets: int64[R + 1], first 0; positions into `items`.
        items: int32[offsets[-1]], item indices 1..V.
        stops: how many trials left no row, by reason; with R they add up to N m.
        start_length: int64[R], leading items that are the source's own; None: 0 for all.
        first_target: int64[R], position (from 1 on) of the first item that training predicts; None: 1 for all.
        evidence: the columns that the augmenter declares, R values each.
        counters: sums of its own, for the manifest.
        encoder: what encoded contexts, if anything did.
        search: what scanned the items, if anything did.
    """

    source: Int64Array
    trial: Int64Array
    offsets: Int64Array
    items: Int32Array
    stops: Mapping[str, int] = field(default_factory=dict)
    start_length: Int64Array | None = None
    first_target: Int64Array | None = None
    evidence: Mapping[str, pa.Array] = field(default_factory=dict)
    counters: Mapping[str, int] = field(default_factory=dict)
    encoder: str = ""
    search: str = ""

    def __len__(self) -> int:
        return len(self.source)

    @property
    def lengths(self) -> Int64Array:
        """int64[R], items of each row."""
        return np.diff(self.offsets)


def check_written(
    written: Written,
    sources: Sequences,
    *,
    trials: int,
    item_count: int,
    known_V: BoolArray | None,
    evidence: pa.Schema,
) -> None:
    """Hold rows to the contract.

    Args:
        written: what an augmenter returned for `sources`.
        sources: what it was given.
        trials: m, how many rows a source may have.
        item_count: V.
        known_V: bool[V + 1], the items that rows may hold; None: all of 1..V.
        evidence: the columns that the augmenter declares.

    Raises:
        BrokenContractError: the first rule that is broken, with the sequence_id of a source whose row breaks it.
    """
    rows, total = len(written), len(written.items)
    aligned = (
        len(written.trial) == rows
        and len(written.offsets) == rows + 1
        and (written.offsets[0], written.offsets[-1]) == (0, total)
        and bool((written.lengths >= 0).all())
    )
    if not aligned:
        raise BrokenContractError(
            f"{rows} rows have {len(written.trial)} trials and offsets that do not cut {total} items"
        )
    columns = {"start_length": written.start_length, "first_target": written.first_target, **written.evidence}
    short = next((name for name, values in columns.items() if values is not None and len(values) != rows), None)
    if short is not None or set(written.evidence) != set(evidence.names):
        raise BrokenContractError(
            f"{rows} rows have evidence {sorted(written.evidence)} where {evidence.names} is declared, or a column of "
            f"another length ({short})"
        )
    # Of another type they would fail later, where no source is set aside.
    if written.items.dtype != np.int32:
        raise BrokenContractError(f"items are {written.items.dtype}, and int32 is wanted")
    for declared in evidence:
        if written.evidence[declared.name].type != declared.type:
            raise BrokenContractError(
                f"{declared.name} is {written.evidence[declared.name].type}, and {declared.type} is declared"
            )
    orphan = (written.source < 0) | (written.source >= len(sources))
    if orphan.any():
        raise BrokenContractError(f"a row without a source: {written.source[orphan][0]} of {len(sources)} sources")
    for broken, rule in _broken(written, trials=trials, item_count=item_count, known_V=known_V):
        if broken.any():
            raise BrokenContractError(f"source {sources.ids[written.source[np.argmax(broken)]]}: {rule}")
    accounted = rows + sum(written.stops.values())
    if accounted != len(sources) * trials:
        raise BrokenContractError(
            f"{len(sources)} sources with {trials} trials each, but {rows} rows and {accounted - rows} stops came out"
        )


def _broken(
    written: Written, *, trials: int, item_count: int, known_V: BoolArray | None
) -> Iterator[tuple[BoolArray, str]]:
    """Rows that break a rule, rule by rule; later rules may rely on earlier ones."""
    lengths = written.lengths
    yield (written.trial < 0) | (written.trial >= trials), f"a trial is not in 0..{trials - 1}"
    number = written.source * trials + written.trial
    yield np.diff(number, prepend=-1) <= 0, "rows do not rise by (source, trial), or a trial has two"
    yield lengths < LEAST_ITEMS, f"a row has fewer than {LEAST_ITEMS} items"
    outside = (written.items < 1) | (written.items > item_count)
    yield _any_of(outside, written.offsets), f"an item is not in 1..{item_count}"
    if known_V is not None:
        yield _any_of(~known_V[written.items], written.offsets), "an item occurs in no training sequence"
    if written.start_length is not None:
        yield (written.start_length < 0) | (written.start_length > lengths), "start_length is not in 0..length"
    if written.first_target is not None:
        yield (written.first_target < 1) | (written.first_target >= lengths), "first_target is not in 1..length - 1"


def _any_of(value: BoolArray, offsets: Int64Array) -> BoolArray:
    """Whether any value of each row is true; every row has a value."""
    return np.asarray(np.logical_or.reduceat(value, offsets[:-1])) if len(offsets) > 1 else np.zeros(0, dtype=np.bool_)
