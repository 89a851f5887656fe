"""Any interaction log → one lazy frame: user_id, item_id (text), time (number or null), order (position in the file).

`read_log` finds the reader of a format, checks every line once, and hands on a lazy frame that streams; it keeps no
log in memory and writes nothing. Checking costs one pass, and buys that what comes after it cannot meet a bad line:
the first one stops the import, named with file, line and value. Blank lines count as lines and are skipped.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl
import pyarrow as pa

from rsir_scale.data import line_formats, parquet_format, table_formats
from rsir_scale.data.diagnosis import line_of, locate_fault
from rsir_scale.data.line_formats import FAULT, LINE
from rsir_scale.data.schema import ITEM_ID, ORDER, TIME, USER_ID
from rsir_scale.data.table_formats import Wanted
from rsir_scale.data.text_files import check_text
from rsir_scale.errors import InputError, shown
from rsir_scale.storage.opening import usable_path

_NAMED_COLUMNS: dict[str, Callable[[str, Wanted], pl.LazyFrame]] = {
    "recbole": table_formats.scan_recbole,
    "csv": table_formats.scan_csv,
    "parquet": parquet_format.scan_parquet,
}
_FIXED_COLUMNS: dict[str, Callable[[str], pl.LazyFrame]] = {
    "sequences": line_formats.scan_sequences,
    "pairs": line_formats.scan_pairs,
    "amazon-json": line_formats.scan_amazon_json,
    "amazon-csv": line_formats.scan_amazon_csv,
}
_MOVIELENS: dict[str, Callable[[str], pl.LazyFrame]] = {
    ".data": line_formats.scan_movielens_data,
    ".dat": line_formats.scan_movielens_dat,
    ".csv": table_formats.scan_movielens_csv,
}
FORMATS = ("sequences", "pairs", "recbole", "amazon-json", "amazon-csv", "movielens", "csv", "parquet")
_NUMBER = "number"
_MAX_ID_BYTES = 1024
_REASON_CHARACTERS = 300


def read_log(
    log_format: str,
    source: str | Path,
    *,
    user_column: str | None = None,
    item_column: str | None = None,
    time_column: str | None = None,
) -> pl.LazyFrame:
    """Read an interaction log, checking every line of it.

    Args:
        log_format: one of `FORMATS`.
        source: the file; text may be gzipped, and is held to `text_files` first.
        user_column: with recbole, csv and parquet; default user_id.
        item_column: likewise; default item_id.
        time_column: likewise; default timestamp where the file has it, else the order of the file counts.

    Returns:
        A lazy frame in file order with columns user_id, item_id (String), time (Float64; null throughout where the log
        has none) and order (Int64, increasing).

    Raises:
        InputError: no such file, format or column; an empty log; a line that is not what the format says.
    """
    path = _existing_file(source)
    if log_format in FORMATS and log_format != "parquet":
        try:
            check_text(path)
        except OSError as error:
            raise InputError(f"{path} cannot be read ({error}): name a file that you may read") from error
    with _parser_errors(log_format, path):
        raw = _scan(log_format, path, Wanted(user_column, item_column, time_column))
        time_type = raw.collect_schema()[TIME]
        numbered = raw.with_columns(_as_number(time_type, path).alias(_NUMBER))
        _refuse_first_fault(numbered, log_format, path, has_times=time_type != pl.Null)
    log = numbered.select(USER_ID, ITEM_ID, pl.col(_NUMBER).alias(TIME)).with_row_index(ORDER)
    return log.with_columns(pl.col(ORDER).cast(pl.Int64))


@contextmanager
def _parser_errors(log_format: str, path: Path) -> Iterator[None]:
    """Turn what Polars or Arrow says of a file into an InputError that names it and, if possible, the line."""
    try:
        yield
    except pl.exceptions.NoDataError as error:
        raise _empty(path) from error
    except (pl.exceptions.PolarsError, pa.ArrowException, UnicodeDecodeError, OSError) as error:
        reason = locate_fault(log_format, path) or str(error).split("\n")[0][:_REASON_CHARACTERS]
        raise InputError(
            f"{path} is not readable as {log_format} ({reason}): check --format, and that the file is whole"
        ) from error


def _existing_file(source: str | Path) -> Path:
    usable_path(source)
    path = Path(source)
    if path.is_dir():
        raise InputError(f"{path} is a folder, not an interaction log: name one file")
    if not path.exists():
        raise InputError(f"{path} does not exist: name the file of an interaction log")
    if not path.is_file():
        raise InputError(f"{path} is a pipe or a device, and a log is read more than once: write it to a file first")
    return path


def _scan(log_format: str, path: Path, wanted: Wanted) -> pl.LazyFrame:
    if log_format in _NAMED_COLUMNS:
        return _NAMED_COLUMNS[log_format](str(path), wanted)
    if log_format not in FORMATS:
        raise InputError(f"format {log_format!r} is unknown: choose one of {', '.join(FORMATS)}")
    if wanted != Wanted():
        raise InputError(
            f"format {log_format} has fixed columns: leave --user-column, --item-column and --time-column out"
        )
    if log_format in _FIXED_COLUMNS:
        return _FIXED_COLUMNS[log_format](str(path))
    suffix = Path(path.name.removesuffix(".gz")).suffix
    if suffix not in _MOVIELENS:
        raise InputError(
            f"{path} ends in {suffix!r}: a MovieLens file ends in one of {', '.join(_MOVIELENS)}: rename it"
        )
    return _MOVIELENS[suffix](str(path))


def _as_number(time_type: pl.DataType, path: Path) -> pl.Expr:
    time = pl.col(TIME)
    if time_type == pl.String:
        return time.str.strip_chars().cast(pl.Float64, strict=False)
    if time_type in (pl.Datetime, pl.Date):
        return time.cast(pl.Datetime("us")).dt.epoch("us") / 1e6
    if time_type == pl.Null or time_type.is_numeric():
        return time.cast(pl.Float64)
    raise InputError(f"{path}: the time column is of type {time_type}, not a number or a date: name another one")


def _refuse_first_fault(numbered: pl.LazyFrame, log_format: str, path: Path, *, has_times: bool) -> None:
    if numbered.head(1).collect(engine="streaming").is_empty():
        raise _empty(path)
    lengths = [pl.col(name).str.len_bytes().fill_null(0) for name in (USER_ID, ITEM_ID)]
    bad_id = pl.any_horizontal(~length.is_between(1, _MAX_ID_BYTES) for length in lengths)
    bad_time = ~pl.col(_NUMBER).is_finite().fill_null(False) if has_times else pl.lit(False)
    faulty = numbered.filter(pl.col(FAULT).is_not_null() | bad_id | bad_time).head(1).collect(engine="streaming")
    if not faulty.is_empty():
        row = faulty.row(0, named=True)
        line = line_of(log_format, path, row[LINE])
        raise InputError(f"{path}, line {line}: {row[FAULT] or _what_is_wrong(row)}")


def _what_is_wrong(row: dict[str, object]) -> str:
    for name in (USER_ID, ITEM_ID):
        if not row[name]:
            return f"{name} is missing or empty: give it a value, or take the line out"
        if len(str(row[name]).encode()) > _MAX_ID_BYTES:
            return (
                f"{name} {shown(row[name])} is longer than {_MAX_ID_BYTES} bytes: check --format, or give a shorter one"
            )
    return (
        f"time {shown(row[TIME])} is not a finite number: give a number such as epoch seconds, "
        "or leave the time column out so that the file's order counts"
    )


def _empty(path: Path) -> InputError:
    return InputError(f"{path} holds no interaction: name a log that is not empty")
