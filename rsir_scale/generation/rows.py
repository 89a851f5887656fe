"""From ended trials to the rows of a part and the shard's counts.

Comes in: what the decoder returns. Goes out: an Arrow table of the trials that left a sequence, and counts in which
every trial is either a row or a stop without a row. Evidence stands beside each row, so that anyone can check it again.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from rsir_scale.augmenters.rsir.decode import Decoded
from rsir_scale.augmenters.rsir.rules import Rules
from rsir_scale.augmenters.rsir.state import StopReason
from rsir_scale.data.dataset import Sequences
from rsir_scale.data.sequences import offsets_of, to_list_array
from rsir_scale.models.inputs import pad_latest
from rsir_scale.randomness import content_hashes
from rsir_scale.runs.columns import ERRORS_SCHEMA, PART_SCHEMA

TOO_SHORT = "too_short"
COPY = "copy"

_COMPARED = 1 << 26  # pairs of items at once


def part_rows(
    decoded: Decoded,
    sources: Sequences,
    positions: npt.NDArray[np.int64],
    rules: Rules,
    *,
    first_id: int,
    iteration: int,
) -> pa.Table:
    """Build the rows of the trials that left a sequence, ordered by (source, trial).

    Args:
        decoded: ended trials.
        sources: the sequences that they started from.
        positions: int64, each source's position in the shard plan.
        rules: `min_length` and `trials_per_sequence`.
        first_id: the plan's first sequence id.
        iteration: of the model that wrote them.
    """
    kept = np.flatnonzero(keeps(decoded, sources, rules))
    length, start = decoded.length[kept], decoded.start_length[kept]
    column = np.arange(decoded.context.shape[1])
    offsets = offsets_of(length)
    items = decoded.context[kept][column < length[:, None]]
    grown = (column >= start[:, None]) & (column < length[:, None])
    grown_offsets = offsets_of(length - start)
    source, trial = decoded.source[kept], decoded.trial[kept]
    names = np.array([reason.name.lower() for reason in StopReason])
    columns = [
        pa.array(first_id + positions[source] * rules.trials_per_sequence + trial),
        to_list_array(offsets, items),
        pa.array(np.full(len(kept), iteration, dtype=np.int32)),
        pa.array(sources.ids[source]),
        pa.array(trial.astype(np.int32)),
        pa.array(start.astype(np.int32)),
        pa.array(names[decoded.stop[kept]], type=pa.string()),
        to_list_array(grown_offsets, decoded.voucher[kept][grown]),
        to_list_array(grown_offsets, decoded.better[kept][grown]),
        to_list_array(grown_offsets, decoded.explored[kept][grown]),
        pa.FixedSizeBinaryArray.from_buffers(
            pa.binary(16), len(kept), [None, pa.py_buffer(content_hashes(offsets, items))]
        ),
    ]
    return pa.Table.from_arrays(columns, schema=PART_SCHEMA)


def keeps(decoded: Decoded, sources: Sequences, rules: Rules) -> npt.NDArray[np.bool_]:
    """Mark trials that left a sequence: long enough, with a generated item, and not their whole source over again."""
    return _grown(decoded, rules) & ~_copies(decoded, sources)


def _grown(decoded: Decoded, rules: Rules) -> npt.NDArray[np.bool_]:
    return (decoded.length >= rules.min_length) & (decoded.length > decoded.start_length)


def _copies(decoded: Decoded, sources: Sequences) -> npt.NDArray[np.bool_]:
    """Mark trials that put down their source, item by item: nothing about them is new."""
    same_length = np.flatnonzero(decoded.length == sources.lengths[decoded.source])
    copies = np.zeros(len(decoded.length), dtype=np.bool_)
    if len(same_length):
        source = pad_latest(sources, decoded.source[same_length], max_length=decoded.context.shape[1]).numpy()
        copies[same_length] = (source == decoded.context[same_length, : source.shape[1]]).all(1)
    return copies


def error_rows(source_ids: npt.NDArray[np.int64], reasons: Sequence[str]) -> pa.Table:
    """Build the rows of the sources that failed: their sequence ids, and why."""
    columns = [pa.array(source_ids), pa.array(reasons, type=pa.string())]
    return pa.Table.from_arrays(columns, schema=ERRORS_SCHEMA)


def shard_counts(decoded: Decoded, sources: Sequences, rules: Rules, *, too_short: int, failed: int) -> dict[str, int]:
    """Count what became of every trial of a shard; the names are those of `runs.commits`.

    Args:
        decoded: ended trials.
        sources: the sequences that they started from.
        rules: the rules that they followed.
        too_short: sources with fewer than 2 items, which no trial can start from.
        failed: sources that could not be worked on at all.
    """
    kept = keeps(decoded, sources, rules)
    copies = _grown(decoded, rules) & ~kept
    counts = {
        "sources": len(sources) + too_short + failed,
        "trials": len(decoded.source) + (too_short + failed) * rules.trials_per_sequence,
        "errors": failed * rules.trials_per_sequence,
        **decoded.tally.as_counts(),
        "rows_kept": int(kept.sum()),
        "pairs": int((decoded.length[kept] - 1).sum()),
        f"stop_{TOO_SHORT}": too_short * rules.trials_per_sequence,
        f"stop_{COPY}": int(copies.sum()),
    }
    for reason in list(StopReason)[1:]:
        counts[f"stop_{reason.name.lower()}"] = int((decoded.stop[~kept & ~copies] == reason).sum())
    return counts | _novelty(decoded, sources, np.flatnonzero(kept))


def _novelty(decoded: Decoded, sources: Sequences, kept: npt.NDArray[np.int64]) -> dict[str, int]:
    """Count, in kept rows, items new to the source, rows without any, and rows that are sub-sequences of it."""
    novel_steps = own_only = subsequence = 0
    at_once = max(1, _COMPARED // (decoded.context.shape[1] * int(sources.lengths.max(initial=1))))
    for start in range(0, len(kept), at_once):
        rows = kept[start : start + at_once]
        context = decoded.context[rows]
        source = pad_latest(sources, decoded.source[rows], max_length=int(sources.lengths.max(initial=1))).numpy()
        real = context > 0
        novel = real & ~(context[:, :, None] == source[:, None, :]).any(2)
        novel_steps += int(novel.sum())
        own_only += int((~novel.any(1)).sum())
        subsequence += int(_is_subsequence(context, source).sum())
    return {"novel_steps": novel_steps, "own_only_rows": own_only, "subsequence_rows": subsequence}


def _is_subsequence(context: npt.NDArray[np.int32], source: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Whether each row of `context` can be had from the same row of `source` by leaving items out (greedy matching)."""
    matched = np.zeros(len(context), dtype=np.int64)
    rows = np.arange(len(context))
    for column in range(source.shape[1]):
        awaited = context[rows, np.minimum(matched, context.shape[1] - 1)]
        matched += (matched < context.shape[1]) & (awaited > 0) & (awaited == source[:, column])
    complete: npt.NDArray[np.bool_] = matched == (context > 0).sum(1)
    return complete
