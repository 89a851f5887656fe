"""An interaction log in Parquet → the same raw lazy frame as from `line_formats`: user_id, item_id, time, line, fault.

The file is read by Arrow, batch by batch: what is damaged or made to harm ends there in an error, where Polars' own
reader ends in a panic now and then. Ids are text or integers. A float is refused, for 7 would become `7.0` and NaN an
item; so is all that has no one text. `line` is the row, from 1.
"""

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.types as kinds
from polars.io.plugins import register_io_source

from rsir_scale.data.line_formats import FAULT, LINE
from rsir_scale.data.schema import ITEM_ID, TIME, USER_ID
from rsir_scale.data.table_formats import Columns, Wanted
from rsir_scale.data.text_files import FREE_BYTES, MAX_RATIO
from rsir_scale.errors import InputError, shown

_BATCH_ROWS = 1 << 16
_TEXT = (
    kinds.is_string,
    kinds.is_large_string,
    kinds.is_string_view,
    kinds.is_binary,
    kinds.is_large_binary,
    kinds.is_binary_view,
    kinds.is_fixed_size_binary,
)
_ROW_BYTES = 3  # of an interaction as text, at the least


def scan_parquet(source: str, wanted: Wanted) -> pl.LazyFrame:
    """Any Parquet file; times are numbers, dates or text that is a number."""
    with pq.ParquetFile(source) as file:
        _refuse_bomb(source, file)
        schema = file.schema_arrow
    columns = wanted.resolve(schema.names, source)
    for name in (columns.user, columns.item):
        _refuse_other_ids(source, name, schema.field(name).type)
    time_arrow, time_polars = _time_types(source, None if columns.time is None else schema.field(columns.time).type)
    types = {USER_ID: pl.String(), ITEM_ID: pl.String(), TIME: time_polars}

    def batches(
        with_columns: list[str] | None, predicate: pl.Expr | None, n_rows: int | None, _: int | None
    ) -> Iterator[pl.DataFrame]:
        for frame in _frames(source, columns, time_arrow, n_rows):
            chosen = frame.match_to_schema(types).select(with_columns or list(types))
            yield chosen if predicate is None else chosen.filter(predicate)

    rows = register_io_source(batches, schema=types, is_pure=True).with_row_index(LINE, offset=1)
    return rows.with_columns(pl.col(LINE).cast(pl.Int64), pl.lit(None, dtype=pl.String).alias(FAULT))


def _frames(source: str, columns: Columns, time_type: pa.DataType, rows: int | None) -> Iterator[pl.DataFrame]:
    with pq.ParquetFile(source) as file:
        for batch in file.iter_batches(_BATCH_ROWS, columns=columns.names(), use_threads=False):
            # Text that is no UTF-8 passes Arrow's reader, and nothing after it.
            batch.validate(full=True)
            found = batch.slice(0, rows)
            rows = None if rows is None else rows - len(found)
            ids = {USER_ID: columns.user, ITEM_ID: columns.item}
            arrays = {name: found.column(of).cast(pa.string()) for name, of in ids.items()}
            times = pa.nulls(len(found)) if columns.time is None else found.column(columns.time)
            # Nanoseconds lose what is below a microsecond; seconds and milliseconds must not go round.
            fine = kinds.is_timestamp(times.type) and times.type.unit == "ns"
            safe = kinds.is_timestamp(time_type) and not fine
            yield pl.DataFrame(pl.from_arrow(pa.table(arrays | {TIME: times.cast(time_type, safe=safe)})))
            if rows == 0:
                return


def _refuse_bomb(source: str, file: pq.ParquetFile) -> None:
    metadata = file.metadata
    groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
    unpacked = max(sum(group.total_byte_size for group in groups), _ROW_BYTES * metadata.num_rows)
    allowed = max(FREE_BYTES, MAX_RATIO * Path(source).stat().st_size)
    if unpacked > allowed:
        raise InputError(
            f"{source} unpacks to {unpacked} bytes or more, above {MAX_RATIO} times its size, which no log does: look "
            "at it, and write it anew if it is to be trusted"
        )


def _refuse_other_ids(source: str, name: str, kind: pa.DataType) -> None:
    inner = kind.value_type if kinds.is_dictionary(kind) else kind
    if not (kinds.is_integer(inner) or kinds.is_null(inner) or any(is_text(inner) for is_text in _TEXT)):
        raise InputError(
            f"{source}: ids of column {shown(name)} are of type {shown(str(kind))}: write them as text or as integers, "
            "or name another column"
        )


def _time_types(source: str, kind: pa.DataType | None) -> tuple[pa.DataType, pl.DataType]:
    if kind is None or kinds.is_null(kind):
        return pa.null(), pl.Null()
    if kinds.is_date(kind) or kinds.is_timestamp(kind):
        return pa.timestamp("us"), pl.Datetime("us")
    if kinds.is_integer(kind) or kinds.is_floating(kind) or kinds.is_decimal(kind):
        return pa.float64(), pl.Float64()
    if kinds.is_string(kind) or kinds.is_large_string(kind) or kinds.is_string_view(kind):
        return pa.string(), pl.String()
    raise InputError(
        f"{source}: the time column is of type {shown(str(kind))}, not a number or a date: name another one with "
        "--time-column"
    )
