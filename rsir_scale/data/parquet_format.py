"""An interaction log in Parquet → a `Raw` of frames, batch by batch.

The file is read by Arrow, in the calling thread: what is damaged or made to harm ends there in an error, where Polars'
own reader ends in a panic now and then. Ids are text, integers, or floats that are whole, as pandas makes of integers
with gaps; what has no one text is refused. `line` is the row, from 1.
"""

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pyarrow.types as kinds

from rsir_scale.data.asked import Asked, Part
from rsir_scale.data.columns import Columns, resolve
from rsir_scale.data.raw import LINE, Raw, raw_columns
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
_SAMPLE_ROWS = 50
_MAX_WHOLE = 2.0**53  # above which floats skip integers


def scan_parquet(part: Part, asked: Asked) -> Raw:
    """Any Parquet file; times are numbers, dates or text."""
    with pq.ParquetFile(part.path) as file:
        _refuse_bomb(part, file)
        schema = file.schema_arrow
        plain = [field.name for field in schema if not kinds.is_nested(field.type)]
        rows = _first_rows(file, plain) if len(set(schema.names)) == len(schema.names) else {}
    # Spark writes a column as a folder, or in the file: the file's own counts.
    columns = resolve(asked, list(dict.fromkeys([*part.constants])) + schema.names, part.name, rows=rows)
    constants = {name: value for name, value in part.constants.items() if name not in schema.names}
    for name in {columns.user, columns.item} - set(constants):
        _refuse_other_ids(part.name, name, schema.field(name).type)
    if columns.time is not None and columns.time not in constants:
        _refuse_other_times(part.name, schema.field(columns.time).type)
    return Raw(_frames(part, columns, asked, constants), columns)


def _first_rows(file: pq.ParquetFile, names: list[str]) -> dict[str, list[object]]:
    batch = next(file.iter_batches(_SAMPLE_ROWS, columns=names, use_threads=False), None)
    if batch is None:
        return {}
    return {
        name: batch.column(name).cast(pa.string(), safe=False).to_pylist() for name in names if _castable(batch, name)
    }


def _castable(batch: pa.RecordBatch, name: str) -> bool:
    kind = batch.column(name).type
    known = (kinds.is_integer, kinds.is_floating, kinds.is_temporal, kinds.is_string)
    return any(is_known(kind) for is_known in known)


def _frames(part: Part, columns: Columns, asked: Asked, constants: dict[str, str]) -> Iterator[pl.DataFrame]:
    line = 1
    wanted = [name for name in columns.names() if name not in constants]
    picked = raw_columns(
        user=pl.col("user"), item=pl.col("item"), time=pl.col("time"), asked=asked, fault=pl.col("odd")
    )
    with pq.ParquetFile(part.path) as file:
        for batch in file.iter_batches(_BATCH_ROWS, columns=wanted, use_threads=False):
            # Text that is no UTF-8 passes Arrow's reader, and nothing after it.
            batch.validate(full=True)
            size = len(batch)
            found = {name: batch.column(name) for name in wanted}
            found |= {name: pa.array([value] * size, pa.string()) for name, value in constants.items()}
            users, items = found[columns.user], found[columns.item]
            arrays = {name: found[name].cast(pa.string()) for name in columns.others} | {
                "user": _ids(users),
                "item": _ids(items),
                "time": pa.nulls(size) if columns.time is None else _times(found[columns.time]),
                "odd": pc.coalesce(_odd(users, columns.user), _odd(items, columns.item)),
                LINE: pa.array(range(line, line + size), pa.int64()),
            }
            yield pl.DataFrame(pl.from_arrow(pa.table(arrays))).select(*picked, LINE)
            line += size


def _ids(values: pa.Array) -> pa.Array:
    """Ids as text; a float that is whole is its integer, and one that is none is null, as NaN is."""
    if not kinds.is_floating(values.type):
        return values.cast(pa.string())
    doubles = values.cast(pa.float64())
    integers = pc.if_else(_whole(doubles), doubles, pa.scalar(None, pa.float64()))
    return integers.cast(pa.int64()).cast(pa.string())


def _odd(values: pa.Array, name: str) -> pa.Array:
    """In words, floats that are no integers; null elsewhere."""
    if not kinds.is_floating(values.type):
        return pa.nulls(len(values), pa.string())
    doubles = values.cast(pa.float64())
    faulty = pc.and_(pc.invert(_whole(doubles)), pc.invert(pc.is_null(doubles, nan_is_null=True)))
    words = pc.binary_join_element_wise(
        f"{name} is the double",
        doubles.cast(pa.string()),
        "which is not a whole number: write ids as text or as integers, or name another column",
        " ",
    )
    return pc.if_else(faulty, words, pa.scalar(None, pa.string()))


def _whole(doubles: pa.Array) -> pa.Array:
    whole = pc.and_(pc.equal(doubles, pc.floor(doubles)), pc.less(pc.abs(doubles), _MAX_WHOLE))
    return pc.fill_null(whole, False)


def _times(values: pa.Array) -> pa.Array:
    """Numbers as Float64, dates as seconds since 1970, text as it is."""
    kind = values.type
    if kinds.is_date(kind) or kinds.is_timestamp(kind):
        # Nanoseconds lose what is below a microsecond; seconds and milliseconds must not go round.
        fine = kinds.is_timestamp(kind) and kind.unit == "ns"
        return pc.divide(values.cast(pa.timestamp("us"), safe=not fine).cast(pa.int64()).cast(pa.float64()), 1e6)
    if kinds.is_integer(kind) or kinds.is_floating(kind) or kinds.is_decimal(kind):
        return values.cast(pa.float64(), safe=False)
    return values if kinds.is_null(kind) else values.cast(pa.string())


def _refuse_bomb(part: Part, file: pq.ParquetFile) -> None:
    metadata = file.metadata
    groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
    unpacked = max(sum(group.total_byte_size for group in groups), _ROW_BYTES * metadata.num_rows)
    allowed = max(FREE_BYTES, MAX_RATIO * Path(part.path).stat().st_size)
    if unpacked > allowed:
        raise InputError(
            f"{part.name} unpacks to {unpacked} bytes or more, above {MAX_RATIO} times its size, which no log does: "
            "look at it, and write it again if it is to be trusted"
        )


def _refuse_other_ids(source: str, name: str, kind: pa.DataType) -> None:
    inner = kind.value_type if kinds.is_dictionary(kind) else kind
    known = (kinds.is_integer, kinds.is_floating, kinds.is_null, *_TEXT)
    if not any(is_known(inner) for is_known in known):
        raise InputError(
            f"{source}: ids of column {shown(name)} are of type {shown(str(kind))}: write them as text or as integers, "
            "or name another column"
        )


def _refuse_other_times(source: str, kind: pa.DataType) -> None:
    known = (
        kinds.is_null,
        kinds.is_date,
        kinds.is_timestamp,
        kinds.is_integer,
        kinds.is_floating,
        kinds.is_decimal,
        kinds.is_string,
        kinds.is_large_string,
        kinds.is_string_view,
    )
    if not any(is_known(kind) for is_known in known):
        raise InputError(
            f"{source}: the time column is of type {shown(str(kind))}, not a number or a date: name another one with "
            "--time-column"
        )
