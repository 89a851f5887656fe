"""From ended trials to rows with their evidence, and counts in which every trial is a row or a stop without one.

Comes in: what the decoder returns. Goes out: `Written` rows. The evidence of a generated item is the item that vouched
for it, how many items of the catalogue scored higher than that one (-1 where nothing was checked), and whether it was
chosen by exploration: so that anyone can check it again.
"""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from rsir_scale.augmenters.rsir.decode import Decoded
from rsir_scale.augmenters.rsir.rules import Rules
from rsir_scale.augmenters.rsir.state import StopReason
from rsir_scale.augmenters.written import Written
from rsir_scale.data.sequences import Int64Array, Sequences, offsets_of, to_list_array
from rsir_scale.models.inputs import pad_latest

TOO_SHORT = "too_short"
COPY = "copy"
PREFIX = "prefix"  # of a row that its trial went beyond
UNREACHED = "unreached"  # of a length that a trial did not come to

STOP_REASON = "stop_reason"
VOUCHING_ITEMS = "vouching_items"
BETTER_ITEMS = "better_items"
EXPLORED = "explored"
# One entry an item that was generated, of the last three.
EVIDENCE = pa.schema(
    [
        (STOP_REASON, pa.string()),
        (VOUCHING_ITEMS, pa.list_(pa.int32())),
        (BETTER_ITEMS, pa.list_(pa.int32())),
        (EXPLORED, pa.list_(pa.bool_())),
    ]
)


def written_rows(decoded: Decoded, sources: Sequences, rules: Rules, *, search: str) -> Written:
    """Take the trials that left a sequence, ordered by (source, trial), and count the others by their reasons.

    Args:
        decoded: ended trials.
        sources: the sequences that they started from.
        rules: `min_length` and `trials_per_sequence`.
        search: what scanned the items.
    """
    kept, length, copies = _left(decoded, sources, rules)
    start = decoded.start_length[kept]
    column = np.arange(decoded.context.shape[1])
    grown = (column >= start[:, None]) & (column < length[:, None])
    grown_offsets = offsets_of(length - start)
    names = np.array([reason.name.lower() for reason in StopReason])
    stop = np.where(length < decoded.length[kept], PREFIX, names[decoded.stop[kept]])
    evidence = (
        pa.array(stop, type=pa.string()),
        to_list_array(grown_offsets, decoded.voucher[kept][grown]),
        to_list_array(grown_offsets, decoded.better[kept][grown]),
        to_list_array(grown_offsets, decoded.explored[kept][grown]),
    )
    stops = _stops(decoded, rules, copies)
    if rules.lengths > 1:
        trials = len(decoded.source) * rules.lengths
        stops[UNREACHED] = trials - len(kept) - sum(stops.values())
    return Written(
        source=decoded.source[kept],
        trial=decoded.trial[kept] * rules.lengths + (length - 2 if rules.lengths > 1 else 0),
        offsets=offsets_of(length),
        items=decoded.context[kept][column < length[:, None]],
        stops=stops,
        start_length=start,
        evidence=dict(zip(EVIDENCE.names, evidence, strict=True)),
        counters=decoded.tally.as_counts(),
        encoder=decoded.encoder,
        search=search,
    )


def _left(decoded: Decoded, sources: Sequences, rules: Rules) -> tuple[Int64Array, Int64Array, int]:
    """The trial and the length of each row that trials left, and how many would have repeated their source.

    Trials leave their ends, or every context from the shortest on.
    """
    grown = np.flatnonzero(_grown(decoded, rules))
    last = decoded.length[grown]
    first = last if rules.lengths == 1 else np.maximum(decoded.start_length[grown] + 1, rules.min_length)
    counts = last - first + 1
    step = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    trial, length = np.repeat(grown, counts), np.repeat(first, counts) + step
    is_new = ~_copies(decoded, sources, trial, length)
    return trial[is_new], length[is_new], int((~is_new).sum())


def keeps(decoded: Decoded, sources: Sequences, rules: Rules) -> npt.NDArray[np.bool_]:
    """Mark trials whose end is a sequence: long enough, with a generated item, and not equal to their source."""
    return _grown(decoded, rules) & ~_copies(decoded, sources, np.arange(len(decoded.length)), decoded.length)


def _grown(decoded: Decoded, rules: Rules) -> npt.NDArray[np.bool_]:
    return (decoded.length >= rules.min_length) & (decoded.length > decoded.start_length)


def _copies(decoded: Decoded, sources: Sequences, trial: Int64Array, length: Int64Array) -> npt.NDArray[np.bool_]:
    """Mark contexts, the first `length` items of trials, that repeat their source: nothing about them is new."""
    same_length = np.flatnonzero(length == sources.lengths[decoded.source[trial]])
    copies = np.zeros(len(trial), dtype=np.bool_)
    if len(same_length):
        of = trial[same_length]
        source = pad_latest(sources, decoded.source[of], max_length=decoded.context.shape[1]).numpy()
        column = np.arange(source.shape[1])
        differs = (source != decoded.context[of, : len(column)]) & (column < length[same_length, None])
        copies[same_length] = ~differs.any(1)
    return copies


def _stops(decoded: Decoded, rules: Rules, copies: int) -> dict[str, int]:
    without = decoded.stop[~_grown(decoded, rules)]
    reasons = {reason.name.lower(): int((without == reason).sum()) for reason in list(StopReason)[1:]}
    return {COPY: copies, **reasons}
