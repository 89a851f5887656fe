"""What a shard counts of its rows, and the rows of the sources that were set aside.

Comes in: rows that an augmenter wrote, and their sources. Goes out: counts in which every trial is a row, a stop or an
error, and how new the rows are.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from rsir_scale.augmenters.written import Written
from rsir_scale.data.sequences import Sequences
from rsir_scale.runs.columns import ERRORS_SCHEMA
from rsir_scale.runs.commits import STOP_PREFIX

_COMPARED = 1 << 26  # pairs of items at once
Matrix = npt.NDArray[np.int32]


def error_rows(source_ids: npt.NDArray[np.int64], reasons: Sequence[str]) -> pa.Table:
    """Build the rows of the sources that failed: their sequence ids, and why."""
    columns = [pa.array(source_ids), pa.array(reasons, type=pa.string())]
    return pa.Table.from_arrays(columns, schema=ERRORS_SCHEMA)


def shard_counts(written: Written, sources: Sequences, *, trials: int, failed: int) -> dict[str, int]:
    """Count what became of every trial of a shard; the names are those of `runs.commits`.

    Args:
        written: rows and stops.
        sources: what they were written from.
        trials: m.
        failed: sources beside these that could not be worked on at all.
    """
    return {
        "sources": len(sources) + failed,
        "trials": (len(sources) + failed) * trials,
        "errors": failed * trials,
        **written.counters,
        "rows_kept": len(written),
        "pairs": int((written.lengths - 1).sum()),
        **{f"{STOP_PREFIX}{reason}": count for reason, count in written.stops.items()},
        **_novelty(written, sources),
    }


def _novelty(written: Written, sources: Sequences) -> dict[str, int]:
    """Count items that are new to the source, rows without any, and rows that are sub-sequences of it."""
    novel_steps = own_only = subsequence = 0
    width = int(written.lengths.max(initial=1)) * int(sources.lengths.max(initial=1))
    at_once = max(1, _COMPARED // width)
    for start in range(0, len(written), at_once):
        rows = np.arange(start, min(start + at_once, len(written)))
        items = _padded(written.offsets, written.items, rows)
        source = _padded(sources.offsets, sources.items, written.source[rows])
        real = items > 0
        novel = real & ~(items[:, :, None] == source[:, None, :]).any(2)
        novel_steps += int(novel.sum())
        own_only += int((~novel.any(1)).sum())
        subsequence += int(_is_subsequence(items, source).sum())
    return {"novel_steps": novel_steps, "own_only_rows": own_only, "subsequence_rows": subsequence}


def _padded(offsets: npt.NDArray[np.int64], items: Matrix, rows: npt.NDArray[np.int64]) -> Matrix:
    """Some rows as a matrix, 0 behind their ends."""
    first, length = offsets[rows], offsets[rows + 1] - offsets[rows]
    column = np.arange(length.max(initial=1))
    inside = column < length[:, None]
    matrix = np.zeros(inside.shape, dtype=np.int32)
    matrix[inside] = items[(first[:, None] + column)[inside]]
    return matrix


def _is_subsequence(items: Matrix, source: Matrix) -> npt.NDArray[np.bool_]:
    """Whether each row of `items` can be had from the same row of `source` by leaving items out (greedy matching)."""
    matched = np.zeros(len(items), dtype=np.int64)
    rows = np.arange(len(items))
    for column in range(source.shape[1]):
        awaited = items[rows, np.minimum(matched, items.shape[1] - 1)]
        matched += (matched < items.shape[1]) & (awaited > 0) & (awaited == source[:, column])
    complete: npt.NDArray[np.bool_] = matched == (items > 0).sum(1)
    return complete
