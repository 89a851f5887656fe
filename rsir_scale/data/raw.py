"""What every reader hands on: an interaction as the file has it, not yet judged.

Comes in: a lazy table of a reader. Goes out: columns user_id, item_id (text), time (text, number, or of type Null where
there is none), line (from 1), fault (text, null where the line is well formed) and kept (whether `--where` holds). The
names that the file itself gives to users, items and times go along, because messages use them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq

from rsir_scale.data.asked import Asked
from rsir_scale.data.columns import Columns
from rsir_scale.data.schema import ITEM_ID, TIME, USER_ID
from rsir_scale.data.where import all_hold

LINE = "line"
FAULT = "fault"
KEPT = "kept"
HEADER = "header"
FIXED = Columns(USER_ID, ITEM_ID, "time")
NO_TIME = pl.lit(None)


@dataclass(frozen=True)
class Raw:
    """A part as a frame of raw columns, native to Polars or made batch by batch; and what the file calls them.

    Attributes:
        frames: one lazy frame, or an iterator of frames. Polars is never given a Python source: its threads may still
            be in it when the process leaves, and the interpreter then aborts.
        columns: the file's own names.
    """

    frames: pl.LazyFrame | Iterator[pl.DataFrame]
    columns: Columns

    def write(self, target: Path) -> None:
        """Write the raw columns as Parquet, in bounded memory."""
        if isinstance(self.frames, pl.LazyFrame):
            self.frames.sink_parquet(target, compression="lz4", engine="streaming")
            return
        writer: pq.ParquetWriter | None = None
        try:
            for frame in self.frames:
                table = frame.to_arrow()
                writer = writer or pq.ParquetWriter(target, table.schema, compression="lz4")
                writer.write_table(table)
        finally:
            if writer is not None:
                writer.close()


def raw_columns(
    *, user: pl.Expr, item: pl.Expr, time: pl.Expr | None, asked: Asked, fault: pl.Expr | None = None
) -> list[pl.Expr]:
    """The columns of a raw frame but for `line`, which the reader has."""
    return [
        user.alias(USER_ID),
        item.alias(ITEM_ID),
        (NO_TIME if time is None else time).alias(TIME),
        (pl.lit(None, dtype=pl.String) if fault is None else fault).alias(FAULT),
        all_hold(asked.where).alias(KEPT),
    ]
