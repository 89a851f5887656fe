"""A log as integers on disk, in buckets of neighbouring users, each sorted by user, label, time and file order.

Sorting a log larger than memory by user would need all of it at once; buckets of whole users need one at a time. Comes
in: the lazy frame of `readers`. Goes out: `Buckets`, files in a scratch folder plus the two vocabularies. Codes count
from 0 in the order in which ids first appear in the file.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from rsir_scale.data.schema import ITEM_ID, ORDER, TIME, USER_ID
from rsir_scale.data.splitting import LABEL

USER_CODE = "user_code"
ITEM_CODE = "item_code"
Duplicates = Literal["keep", "first", "last", "exact"]
_SCHEMA = pa.schema(
    [(USER_CODE, pa.int64()), (ITEM_CODE, pa.int64()), (TIME, pa.float64()), (LABEL, pa.int8()), (ORDER, pa.int64())]
)
_MAX_BUCKETS = 512  # open files


@dataclass(frozen=True)
class Buckets:
    """A log as files.

    Attributes:
        files: in the order of their users.
        user_ids: the ids (String) that codes stand for.
        item_ids: likewise of items.
        duplicates: interactions that were left out as such.
    """

    files: tuple[Path, ...]
    user_ids: pl.Series
    item_ids: pl.Series
    duplicates: int

    def frames(self) -> Iterator[pl.DataFrame]:
        """Each bucket in turn: user_code, item_code, time, label; sorted by user and label, then oldest first."""
        return (pl.read_parquet(file, glob=False) for file in self.files)


def bucket_log(
    log: Path, scratch: Path, *, bucket_interactions: int, duplicates: Duplicates, label: pl.Expr
) -> Buckets:
    """Encode a log (Parquet: user_id, item_id, time, order), spread it over buckets and sort each.

    Args:
        log: the file.
        scratch: an existing folder for the buckets.
        bucket_interactions: interactions that a bucket aims at; a user is never split.
        duplicates: which interactions with the same user and item stay: all; the first or the last; or of those that
            have the same time too, the first (exact).
        label: of an interaction, from the columns of the log.
    """
    user_ids, user_counts = _vocabulary(log, USER_ID)
    item_ids, _ = _vocabulary(log, ITEM_ID)
    total = int(user_counts.sum())
    size = max(bucket_interactions, -(-total // _MAX_BUCKETS))
    bucket_of_user = (np.cumsum(user_counts) - 1) // size
    encoded = scratch / "encoded.parquet"
    _encode(log, encoded, user_ids, item_ids, label)
    files = _spread(encoded, scratch, bucket_of_user)
    encoded.unlink()
    left_out = sum(_sort(file, duplicates) for file in files)
    return Buckets(files, user_ids, item_ids, left_out)


def _vocabulary(log: Path, column: str) -> tuple[pl.Series, np.ndarray]:
    groups = pl.scan_parquet(log, glob=False).group_by(column).agg(pl.col(ORDER).min(), pl.len().alias("count"))
    table = groups.sort(ORDER).collect(engine="streaming")
    return table[column], table["count"].to_numpy().astype(np.int64)


def _encode(log: Path, encoded: Path, user_ids: pl.Series, item_ids: pl.Series, label: pl.Expr) -> None:
    users = pl.LazyFrame({USER_ID: user_ids, USER_CODE: np.arange(len(user_ids))})
    items = pl.LazyFrame({ITEM_ID: item_ids, ITEM_CODE: np.arange(len(item_ids))})
    rows = pl.scan_parquet(log, glob=False).join(users, on=USER_ID).join(items, on=ITEM_ID)
    rows.select(USER_CODE, ITEM_CODE, pl.col(TIME).cast(pl.Float64), label.alias(LABEL), ORDER).sink_parquet(
        encoded, compression="lz4", engine="streaming"
    )


def _spread(encoded: Path, scratch: Path, bucket_of_user: np.ndarray) -> tuple[Path, ...]:
    files = [scratch / f"bucket-{number:05d}.parquet" for number in np.unique(bucket_of_user)]
    dense = np.unique(bucket_of_user, return_inverse=True)[1]
    with ExitStack() as stack:
        writers = [stack.enter_context(pq.ParquetWriter(file, _SCHEMA)) for file in files]
        source = stack.enter_context(pq.ParquetFile(encoded))
        for batch in source.iter_batches(1 << 20):
            buckets = dense[batch.column(USER_CODE).to_numpy()]
            by_bucket = np.argsort(buckets)
            table = pa.table(batch).cast(_SCHEMA).take(pa.array(by_bucket))
            edges = np.searchsorted(buckets[by_bucket], np.arange(len(files) + 1))
            for number in np.flatnonzero(np.diff(edges)):
                writers[number].write_table(table.slice(edges[number], edges[number + 1] - edges[number]))
    return tuple(files)


def _sort(file: Path, duplicates: Duplicates) -> int:
    """Sort a bucket in place; returns how many interactions were left out as duplicates."""
    rows = pl.read_parquet(file, glob=False).sort(USER_CODE, LABEL, TIME, ORDER)
    kept = rows
    if duplicates != "keep":
        same = [USER_CODE, ITEM_CODE, TIME] if duplicates == "exact" else [USER_CODE, ITEM_CODE]
        kept = rows.unique(same, keep="last" if duplicates == "last" else "first", maintain_order=True)
    kept.drop(ORDER).write_parquet(file, compression="lz4")
    return len(rows) - len(kept)
