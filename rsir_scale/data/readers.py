"""Any interaction log → one frame: user_id, item_id (text), time (number or null), order; and what became of its rows.

`read_log` writes each part once as raw columns to a scratch folder, judges all rows by one rule for ids (`ids`), times
(`times`) and missing values, and hands on a lazy frame over what is good; no log is kept in memory. Every row is read,
dropped for a reason that is counted, or handed on. Rows that cannot be read stop the import, the first ten named with
file and line, or with `skip_bad_rows` are listed in a file.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pyarrow as pa

from rsir_scale.data import json_format, judging, line_formats, parquet_format, table_formats
from rsir_scale.data.asked import Asked, Part
from rsir_scale.data.diagnosis import line_of, locate_fault
from rsir_scale.data.judging import PART, REASON
from rsir_scale.data.layouts import asked_by_layout
from rsir_scale.data.parts import parts_of
from rsir_scale.data.raw import KEPT, LINE, Raw
from rsir_scale.data.schema import GIVEN, ITEM_ID, ORDER, TIME, USER_ID
from rsir_scale.data.times import Span
from rsir_scale.errors import InputError

_READERS: dict[str, Callable[[Part, Asked], Raw]] = {
    "sequences": line_formats.scan_sequences,
    "pairs": line_formats.scan_pairs,
    "recbole": table_formats.scan_recbole,
    "amazon-json": json_format.scan_amazon_json,
    "amazon-csv": table_formats.scan_amazon_csv,
    "movielens": table_formats.scan_movielens,
    "csv": table_formats.scan_csv,
    "jsonl": json_format.scan_jsonl,
    "parquet": parquet_format.scan_parquet,
}
FORMATS = tuple(_READERS)
_NAMED = ("recbole", "csv", "jsonl", "parquet")
_SHOWN_FAULTS = 10
_REASON_CHARACTERS = 300


@dataclass(frozen=True)
class Log:
    """A log, read and judged.

    Attributes:
        frame: user_id, item_id (String), time (Float64, null throughout where there are none), order (Int64), and
            given (Int8: 0 training, 1 validation, 2 test) where splits were given.
        read: rows of the files.
        dropped: how many were left out, by reason.
        filtered: how many `where` left out.
        span: of its times; None where it has none.
        notes: what the user should know, in sentences.
        skipped: file with the rows that were skipped; None where none were.
    """

    frame: pl.LazyFrame
    read: int
    dropped: dict[str, int]
    filtered: int
    span: Span | None
    notes: tuple[str, ...]
    skipped: Path | None


def read_log(source: str | Path, scratch: Path, asked: Asked, *, given: bool = False) -> Log:
    """Read an interaction log, judging every row of it.

    Args:
        source: a file, a folder, a glob or an address; what is packed is unpacked (`parts`).
        scratch: an existing folder that outlives the frame.
        asked: how to read it.
        given: whether there is a file each for training, validation and test.

    Raises:
        InputError: no such file, format, layout or column; an empty log; rows that are not what the format says.
    """
    asked = _settled(asked)
    parts = parts_of(source, scratch, text=asked.log_format != "parquet", given=given)
    raws = [_written(part, asked, scratch / f"raw-{number:05d}.parquet") for number, part in enumerate(parts)]
    columns = [raw.columns for raw, _ in raws if raw is not None]
    staged = [(number, path) for number, (_, path) in enumerate(raws) if path.exists()]
    if not staged:
        raise _empty(str(source))
    rows = judging.judged(_together(staged, parts), asked, columns[0])
    counts = judging.counts_of(rows)
    if not counts["read"]:
        raise _empty(str(source))
    faulty = rows.filter(pl.col(REASON).is_not_null())
    if counts["bad"] and not asked.skip_bad_rows:
        raise _bad_rows(faulty.head(_SHOWN_FAULTS).collect(engine="streaming"), counts["bad"], parts, asked)
    good = rows.filter(pl.col(KEPT) & pl.col(REASON).is_null())
    span = judging.span(good, str(source))
    kept = [USER_ID, ITEM_ID, TIME, *([GIVEN] if given else [])]
    if not judging.count(good):
        raise InputError(f"{source}: no row of {counts['read']} is left: look at --where, --missing-ids and the format")
    skipped = _list_skipped(faulty, parts, scratch) if counts["bad"] else None
    return Log(
        frame=good.select(kept).with_row_index(ORDER).with_columns(pl.col(ORDER).cast(pl.Int64)),
        read=counts["read"],
        dropped=judging.dropped(rows),
        filtered=counts["filtered"],
        span=span,
        notes=judging.notes(counts, asked, columns[0], has_times=span is not None),
        skipped=skipped,
    )


def _settled(asked: Asked) -> Asked:
    """Fill in a layout, and refuse options that the format does not know."""
    settled = asked_by_layout(asked.layout, asked) if asked.layout else asked
    if settled.log_format not in FORMATS:
        raise InputError(f"format {settled.log_format!r} is unknown: choose one of {', '.join(FORMATS)}")
    if settled.log_format not in _NAMED and (settled.user or settled.item or settled.time):
        raise InputError(
            f"format {settled.log_format} has fixed columns: leave --user-column, --item-column and --time-column out"
        )
    if settled.time is not None and settled.no_times:
        raise InputError(f"--time-column {settled.time} and --no-times contradict each other: give one of them")
    if not settled.header and settled.log_format != "csv":
        raise InputError(f"--no-header is for --format csv, and this is {settled.log_format}: leave it out")
    if settled.where and settled.log_format in ("sequences", "pairs"):
        raise InputError(f"format {settled.log_format} has no column for --where: leave it out")
    return settled


def _written(part: Part, asked: Asked, target: Path) -> tuple[Raw | None, Path]:
    with _parser_errors(part, asked):
        try:
            raw = _READERS[asked.log_format](part, asked)
        except pl.exceptions.NoDataError:
            return None, target
        raw.write(target)
    return raw, target


@contextmanager
def _parser_errors(part: Part, asked: Asked) -> Iterator[None]:
    """Turn what Polars or Arrow says of a file into an InputError that names it and, if possible, the line."""
    try:
        yield
    except (pl.exceptions.PolarsError, pa.ArrowException, UnicodeDecodeError, OSError) as error:
        reason = locate_fault(asked, part.path) or str(error).split("\n")[0][:_REASON_CHARACTERS]
        raise InputError(
            f"{part.name} is not readable as {asked.log_format} ({reason}): check --format, and that the file is whole"
        ) from error


def _together(staged: list[tuple[int, Path]], parts: tuple[Part, ...]) -> pl.LazyFrame:
    """All parts in order; where their times are of different types, as text."""
    frames = [
        pl.scan_parquet(path, glob=False).with_columns(
            pl.lit(number, dtype=pl.Int32).alias(PART), pl.lit(parts[number].given, dtype=pl.Int8).alias(GIVEN)
        )
        for number, path in staged
    ]
    if len({frame.collect_schema()[TIME] for frame in frames}) > 1:
        frames = [frame.with_columns(pl.col(TIME).cast(pl.String)) for frame in frames]
    return pl.concat(frames)


def _bad_rows(first: pl.DataFrame, bad: int, parts: tuple[Part, ...], asked: Asked) -> InputError:
    told = []
    for row in first.iter_rows(named=True):
        part = parts[row[PART]]
        told.append((part.name, line_of(asked, part.path, row[LINE]), row[REASON]))
    name, line, reason = told[0]
    if bad == 1:
        return InputError(f"{name}, line {line}: {reason}")
    others = "; ".join(
        f"{'' if other == name else f'{other}, '}line {number}: {str(why).partition(':')[0]}"
        for other, number, why in told[1:]
    )
    return InputError(
        f"{name}, line {line}: {reason}; {others}{'; …' if bad > len(told) else ''} ({bad} bad rows in all): correct "
        "them, or give --skip-bad-rows to leave them out and list them"
    )


def _list_skipped(faulty: pl.LazyFrame, parts: tuple[Part, ...], scratch: Path) -> Path:
    target = scratch / "skipped.csv"
    names = pl.LazyFrame({PART: pl.Series(range(len(parts)), dtype=pl.Int32), "file": [part.name for part in parts]})
    listed = faulty.join(names, on=PART, how="left").select(
        "file", LINE, pl.col(REASON), USER_ID, ITEM_ID, pl.col(judging.AS_WRITTEN).cast(pl.String).alias(TIME)
    )
    listed.sink_csv(target, engine="streaming")
    return target


def _empty(name: str) -> InputError:
    return InputError(f"{name} holds no interaction: name a log that is not empty")
