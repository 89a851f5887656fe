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
from rsir_scale.data.sequences import Sequences, offsets_of, to_list_array
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
    kept, length = _left(decoded, sources, rules)
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
    stops = _stops(decoded, sources, rules)
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


def _left(decoded: Decoded, sources: Sequences, rules: Rules) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The trial and the length of each row that trials left: their ends, or every context from the shortest on."""
    kept = np.flatnonzero(keeps(decoded, sources, rules))
    last = decoded.length[kept]
    if rules.lengths == 1:
        return kept, last
    first = np.maximum(decoded.start_length[kept] + 1, rules.min_length)
    counts = last - first + 1
    step = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.repeat(kept, counts), np.repeat(first, counts) + step


def keeps(decoded: Decoded, sources: Sequences, rules: Rules) -> npt.NDArray[np.bool_]:
    """Mark trials that left a sequence: long enough, with a generated item, and not equal to their source."""
    return _grown(decoded, rules) & ~_copies(decoded, sources)


def _grown(decoded: Decoded, rules: Rules) -> npt.NDArray[np.bool_]:
    return (decoded.length >= rules.min_length) & (decoded.length > decoded.start_length)


def _copies(decoded: Decoded, sources: Sequences) -> npt.NDArray[np.bool_]:
    """Mark trials that repeat their source, item by item: nothing about them is new."""
    same_length = np.flatnonzero(decoded.length == sources.lengths[decoded.source])
    copies = np.zeros(len(decoded.length), dtype=np.bool_)
    if len(same_length):
        source = pad_latest(sources, decoded.source[same_length], max_length=decoded.context.shape[1]).numpy()
        copies[same_length] = (source == decoded.context[same_length, : source.shape[1]]).all(1)
    return copies


def _stops(decoded: Decoded, sources: Sequences, rules: Rules) -> dict[str, int]:
    kept = keeps(decoded, sources, rules)
    copies = _grown(decoded, rules) & ~kept
    counts = {COPY: int(copies.sum())}
    for reason in list(StopReason)[1:]:
        counts[reason.name.lower()] = int((decoded.stop[~kept & ~copies] == reason).sum())
    return counts
