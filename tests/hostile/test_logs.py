"""Hostile interaction logs: every format of `rsir data import` refuses what it cannot mean, and leaves nothing."""

import gzip
import os
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pytest

from rsir_scale.data.dataset import open_dataset
from rsir_scale.data.prepare import prepare
from tests.data.logs import read
from tests.hostile.attack import GIB, assert_refused, call, call_apart, held
from tests.hostile.logs import (
    CLEAN,
    HEADER_KINDS,
    ROWS,
    TIMED,
    added,
    clean,
    file_name,
    format_of,
    last_line,
    parquet,
    put,
    written,
)

COUNT = len(ROWS)


@dataclass(frozen=True)
class Log:
    """A log of a kind, what the message must name, and what the file is called if not as usual."""

    kind: str
    data: bytes
    named: tuple[str, ...]
    suffix: str = ""
    options: tuple[str, ...] = ()


def _flipped(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + b"\xff\xff\xff" + data[middle + 3 :]


def _of_every_text_format(kind: str) -> dict[str, Log]:
    data, zipped = clean(kind), gzip.compress(clean(kind) * 50)
    latin = last_line(kind).encode().replace(b"5", b"\xe9", 1)
    line = data.count(b"\n") + 1
    return {
        "truncated gzip": Log(kind, zipped[:-9], ("cannot be read to its end",), ".gz"),
        "half a gzip": Log(kind, zipped[: len(zipped) // 2], ("cannot be read to its end",), ".gz"),
        "a gzip with flipped bytes": Log(kind, _flipped(zipped), ("cannot be read to its end",), ".gz"),
        "UTF-16": Log(kind, CLEAN[kind][1].encode("utf-16"), ("UTF-16",)),
        "UTF-16 without a mark": Log(kind, CLEAN[kind][1].encode("utf-16-le"), ("line 1", "zero byte")),
        "Latin-1": Log(kind, added(kind, latin), (f"line {line}", r"b'\xe9'", "iconv")),
        "NUL": Log(kind, added(kind, last_line(kind).replace("5", "5\0", 1)), (f"line {line}", "zero byte")),
        "a line of 10^7 characters": Log(kind, added(kind, b"x" * 10**7), (f"line {line}", "4194304 bytes")),
        "line ends of an old Mac": Log(kind, data.replace(b"\n", b"\r"), ("no line feed",)),
        "no line at all": Log(kind, b"", ("no interaction",)),
        "blank lines": Log(kind, b"\n\r\n\n", ("no interaction",)),
        "a byte order mark alone": Log(kind, b"\xef\xbb\xbf", ("no interaction",)),
        "an id of a megabyte": Log(
            kind, added(kind, last_line(kind).replace("5", "5" * 10**6, 1)), (f"line {line}", "5555…", "1024 bytes")
        ),
    }


TEXTS = {f"{kind}: {name}": log for kind in CLEAN for name, log in _of_every_text_format(kind).items()}
TIMES = {
    f"{kind}: the time {value!r}": Log(
        kind, added(kind, last_line(kind).replace("103", value)), (repr(value), "finite number")
    )
    for kind in TIMED
    for value in ("nan", "inf", "1e400", "2020-13-01", "soon", "0x10", "1_000")
}
HEADERS = {
    f"{kind}: {name}": log
    for kind in HEADER_KINDS
    for name, log in {
        "a header alone": Log(kind, clean(kind).splitlines(keepends=True)[0], ("no interaction",)),
        "a field too many": Log(
            kind, added(kind, last_line(kind) + "\t7" if kind == "recbole" else last_line(kind) + ",7"), ("'7'", "line")
        ),
        "fields missing": Log(
            kind, added(kind, "77"), (f"{'movieId' if kind == 'movielens-csv' else 'item_id'} is missing",)
        ),
        "a byte that is not text in the header": Log(kind, b"\xff" + clean(kind), ("line 1", r"b'\xff'")),
    }.items()
}
REVIEWS = {
    f"amazon-json: {line[:60]}": Log("amazon-json", added("amazon-json", line), named)
    for line, named in {
        "{}": ("line 25", "reviewerID is missing"),
        "null": ("line 25", "reviewerID is missing"),
        "[]": ("line 25", "[]"),
        "7": ("line 25", "7"),
        '{"reviewerID": {"a": 1}, "asin": "2", "unixReviewTime": 1}': ("line 25", '{"a": 1}'),
        '{"reviewerID": "1", "asin": ["2"], "unixReviewTime": 1}': ("line 25", '["2"]'),
        '{"reviewerID": "1", "asin": "2", "unixReviewTime": [1]}': ("line 25", "[1]"),
        '{"reviewerID": "1", "asin": "2", "unixReviewTime": NaN}': ("NaN",),
        '{"reviewerID": "1", "asin": "2", "unixReviewTime": "soon"}': ("line 25", "soon"),
        '{"reviewerID": "1", "asin": "2", "unixReviewTime": null}': ("line 25", "None"),
        '{"reviewerID": "1", "asin": "2", "unixReviewTime": 1} x': ("line 25", "not JSON"),
        "{'reviewerID': '1'}": ("line 25", "not JSON"),
        "[" * 100_000: ("line 25", "[[["),
        '{"a":' * 50_000: ("line 25", '{"a":'),
    }.items()
}
LINES = {
    "sequences: a float id": Log("sequences", added("sequences", "7 3.5 2"), ("line 7", "'3.5'", "integer")),
    "sequences: an exponent": Log("sequences", added("sequences", "7 1e3 2"), ("line 7", "'1e3'", "integer")),
    "sequences: two lines in one": Log("sequences", added("sequences", "7 1 2\r8 2 3"), ("line 7", "integer")),
    "pairs: one word": Log("pairs", added("pairs", "7"), ("line 25", "'7'")),
    "pairs: three words": Log("pairs", added("pairs", "7 8 9"), ("line 25", "'7 8 9'")),
    "pairs: two lines in one": Log("pairs", added("pairs", "7 1\r8 2"), ("line 25",)),
    "amazon-csv: five fields": Log("amazon-csv", added("amazon-csv", "1,2,3,4,5"), ("line 25", "1,2,3,4,5")),
    "movielens: a foreign suffix": Log("movielens-csv", clean("movielens-csv"), ("'.txt'",), ".txt"),
    "csv: two columns of one name": Log(
        "csv", clean("csv").replace(b"timestamp", b"user_id"), ("two columns 'user_id'",)
    ),
    "csv: a column missing": Log("csv", clean("csv").replace(b"item_id", b"thing"), ("'item_id'", "'thing'")),
    "csv: a wanted column missing": Log("csv", clean("csv"), ("'when'",), options=("--time-column", "when")),
    "csv: a quote that nothing closes": Log("csv", added("csv", '"5,3,103'), ("5,3,103",)),
    "csv: an unquoted comma in a text before the ids": Log(
        "csv", b"title,user_id,item_id,note\n" + b"t,1,2,n\n" * 9 + b"a,b,1,2,n\n", ("line 11", "'n'", "header")
    ),
    "csv: a quote within a field": Log(
        "csv", b'user_id,item_id,title\nu1,a,12" vinyl\nu2,b,7 single\n', ("line 2", '12" vinyl', "take its column out")
    ),
    "csv: text after a quoted field": Log("csv", added("csv", '"5" x,3,103'), ("line 26", '"5" x,3,103')),
    "csv: a line counted after a field of two lines and blank ones": Log(
        "csv", b'\n\nuser_id,item_id,timestamp\nu1,"a\nb",1\n\nu1,,2\n', ("line 7", "item_id is missing")
    ),
    "recbole: a field too many": Log("recbole", added("recbole", "5\t3\t103\tx"), ("line 26", "'x'", "take it out")),
    "csv: a header of escapes": Log("csv", b"\x1b[31mred,\x1b]0;title\x07\n1,2\n", (r"\x1b[31mred",)),
    "csv: zlib": Log("csv", b"x\x9c" + clean("csv"), ("zlib",)),
    "csv: zstd": Log("csv", b"\x28\xb5\x2f\xfd" + clean("csv"), ("to its end as zstd",)),
    "csv: Parquet": Log("csv", parquet(), ("Parquet",)),
    "csv: a ZIP archive": Log("csv", b"PK\x03\x04" + b"\0" * 40, ("ZIP",)),
    "recbole: two columns of one name": Log(
        "recbole", clean("recbole").replace(b"timestamp:float", b"user_id:float"), ("two columns 'user_id'",)
    ),
    "csv: gzip with rubbish behind it": Log(
        "csv", gzip.compress(clean("csv")) + b"rubbish", ("cannot be read to its end",)
    ),
}


TABLES = {
    f"parquet: {name}": Log("parquet", data, named)
    for name, (data, named) in {
        "float ids": (parquet(user_id=[row[0] + 0.5 for row in ROWS]), ("user_id", "double", "text or as integers")),
        "ids that became floats": (
            parquet(item_id=[None, *(float(row[1]) for row in ROWS[1:])]),
            ("line 1", "item_id is missing"),
        ),
        "an id that is NaN": (parquet(item_id=[float("nan")] * COUNT), ("line 1", "item_id is missing")),
        "truth values as ids": (parquet(user_id=[True, False] * (COUNT // 2)), ("'user_id'", "bool")),
        "dates as ids": (parquet(user_id=[date(2020, 1, 1)] * COUNT), ("'user_id'", "date32")),
        "decimals as ids": (parquet(user_id=[Decimal("1.5")] * COUNT), ("'user_id'", "decimal")),
        "lists as ids": (parquet(item_id=[[1]] * COUNT), ("'item_id'", "list")),
        "lists of null as ids": (parquet(item_id=[[None]] * COUNT), ("'item_id'", "list")),
        "structs as ids": (parquet(item_id=[{"a": 1}] * COUNT), ("'item_id'", "struct")),
        "maps as ids": (parquet(item_id=pa.array([[(1, 2)]] * COUNT, pa.map_(pa.int64(), pa.int64()))), ("map",)),
        "null as an id": (parquet(item_id=[None, *(row[1] for row in ROWS[1:])]), ("line 1", "item_id is missing")),
        "null as every id": (parquet(user_id=pa.nulls(COUNT)), ("line 1", "user_id is missing")),
        "empty text as an id": (parquet(item_id=[""] * COUNT), ("line 1", "item_id is missing")),
        "bytes that are no text as ids": (parquet(item_id=[b"\xff"] * COUNT), ("UTF8",)),
        "an id of a megabyte": (parquet(item_id=["x" * 10**6] * COUNT), ("line 1", "'xxx", "1024 bytes")),
        "lists as times": (parquet(timestamp=[[1]] * COUNT), ("time column", "list")),
        "truth values as times": (parquet(timestamp=[True] * COUNT), ("time column", "bool")),
        "durations as times": (parquet(timestamp=pa.array([1] * COUNT, pa.duration("s"))), ("time column", "duration")),
        "times of day": (parquet(timestamp=pa.array([1] * COUNT, pa.time32("s"))), ("time column", "time32")),
        "a time that is NaN": (parquet(timestamp=[1.0] * (COUNT - 1) + [float("nan")]), (f"line {COUNT}", "NaN")),
        "a time that is infinite": (parquet(timestamp=[float("-inf")] * COUNT), ("line 1", "-inf")),
        "a time that is null": (parquet(timestamp=[1] * (COUNT - 1) + [None]), (f"line {COUNT}", "None")),
        "words as times": (parquet(timestamp=["soon"] * COUNT), ("line 1", "'soon'")),
        "a column missing": (parquet(item_id=None), ("'item_id'", "'timestamp'")),
        "two columns of one name": (
            written(pa.table([[1], [2], [3]], names=["user_id", "item_id", "item_id"])),
            ("two columns 'item_id'",),
        ),
        "no columns": (written(pa.table({})), ("'user_id'", "none at all")),
        "no rows": (
            written(pa.table({"user_id": pa.array([], "int64"), "item_id": pa.array([], "int64")})),
            ("no interaction",),
        ),
        "nothing": (b"", ("size is 0 bytes",)),
        "its end missing": (parquet()[:-20], ("magic bytes",)),
        "text": (clean("csv"), ("magic bytes",)),
        "a footer of rubbish": (b"PAR1" + b"x" * 100 + b"PAR1", ("footer",)),
        "a footer longer than the file": (parquet()[:-8] + b"\xff\xff\xff\x7fPAR1", ("footer",)),
        "pages of rubbish": (parquet()[:30] + b"\xff" * 60 + parquet()[90:], ("not readable as parquet",)),
        "more rows than its bytes can hold": (
            written(
                pa.table({"user_id": np.zeros(10**8, np.int8), "item_id": np.zeros(10**8, np.int8)}), compression="zstd"
            ),
            ("300000000 bytes",),
        ),
    }.items()
}
CASES = TEXTS | TIMES | HEADERS | REVIEWS | LINES | TABLES


@pytest.mark.timeout(150)
@pytest.mark.parametrize("log", CASES.values(), ids=CASES)
def test_a_hostile_log_is_refused_by_value_and_leaves_nothing(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, log: Log
) -> None:
    source = put(tmp_path, file_name(log.kind) + log.suffix, log.data)
    before = held(tmp_path)
    ended = call(
        capfd,
        *("data", "import", "--format", format_of(log.kind), source, "--out", tmp_path / "new", "--min-count", 0),
        *log.options,
    )
    assert_refused(ended, 2, (str(source), *log.named))
    assert held(tmp_path) == before


def _harmless(kind: str) -> dict[str, Log]:
    data = clean(kind)
    return {
        "a byte order mark": Log(kind, b"\xef\xbb\xbf" + data, ()),
        "CR LF": Log(kind, data.replace(b"\n", b"\r\n"), ()),
        "no end of the last line": Log(kind, data[:-1], ()),
        "blank lines": Log(kind, data.replace(b"\n", b"\n\n"), ()),
        "gzip": Log(kind, gzip.compress(data), (), ".gz"),
        "gzip under another name": Log(kind, gzip.compress(data), ()),
        "text under a name for gzip": Log(kind, data, (), ".gz"),
        "gzip of two members": Log(kind, gzip.compress(data[:50]) + gzip.compress(data[50:]), (), ".gz"),
    }


HARMLESS = {f"{kind}: {name}": log for kind in CLEAN for name, log in _harmless(kind).items()} | {
    f"parquet: {name}": Log("parquet", data, ())
    for name, data in {
        "ids as text": parquet(user_id=[str(row[0]) for row in ROWS]),
        "ids as categories": parquet(user_id=pa.array([str(row[0]) for row in ROWS]).dictionary_encode()),
        "ids as views": parquet(user_id=pa.array([str(row[0]) for row in ROWS], pa.string_view())),
        "times as views": parquet(timestamp=pa.array([str(row[2]) for row in ROWS], pa.string_view())),
        "ids as bytes": parquet(user_id=[str(row[0]).encode() for row in ROWS]),
        "ids without a sign": parquet(user_id=pa.array([row[0] for row in ROWS], pa.uint64())),
        "times as text": parquet(timestamp=[str(row[2]) for row in ROWS]),
        "times as floats": parquet(timestamp=[float(row[2]) for row in ROWS]),
        "times in half precision": parquet(timestamp=pa.array(np.array([row[2] for row in ROWS], np.float16))),
        "times as decimals": parquet(timestamp=[Decimal(row[2]) for row in ROWS]),
        "times as dates": parquet(
            timestamp=pa.array([datetime.fromtimestamp(row[2], UTC) for row in ROWS], pa.timestamp("ns"))
        ),
        "other columns, nested": parquet(extra=[[{"a": None}]] * COUNT),
    }.items()
}


@pytest.mark.parametrize("log", HARMLESS.values(), ids=HARMLESS)
def test_a_log_that_only_looks_hostile_gives_the_same_dataset(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, log: Log
) -> None:
    source = put(tmp_path, file_name(log.kind) + log.suffix, log.data)
    options = ("--format", format_of(log.kind), source, "--out", tmp_path / "prepared", "--min-count", 0)
    ended = call(capfd, "data", "import", *options)
    assert (ended.code, ended.err) == (0, "")
    assert open_dataset(tmp_path / "prepared").meta.fingerprint == fingerprint_of_the_clean(log.kind)


@cache
def fingerprint_of_the_clean(kind: str) -> str:
    """What the dataset of an innocent log of this kind has."""
    with TemporaryDirectory() as folder:
        source = put(Path(folder), file_name(kind), clean(kind))
        return prepare(read(format_of(kind), source).frame, Path(folder) / "prepared", min_count=0).fingerprint


IDS = {
    "negative": ["-5", "-6", "-7", "-5"],
    "huge": [str(10**40), str(10**40 + 1), str(2**63), str(10**40)],
    "zero and signs": ["0", "+0", "-0", "00"],
    "exponents": ["1e0", "1", "10e-1", "1e0"],
    "look like paths": ["../../etc", "a/b", "C:\\x", "..."],
    "of many alphabets": ["ключ", "鍵", "🔑", "é"],
    "escapes": ["\x1b[31m", "\x07", "\x7f", "\x01"],
}


@pytest.mark.parametrize("ids", IDS.values(), ids=IDS)
def test_ids_stay_the_text_that_they_are(capfd: pytest.CaptureFixture[str], tmp_path: Path, ids: list[str]) -> None:
    source = put(tmp_path, "log.txt", "".join(f"u {item}\n" for item in ids).encode())
    ended = call(capfd, "data", "import", "--format", "pairs", source, "--out", tmp_path / "new", "--min-count", 0)
    assert ended.code == 0, ended.err
    assert open_dataset(tmp_path / "new").item_ids().tolist() == list(dict.fromkeys(ids))


def _bomb(kind: str) -> bytes:
    """2 GiB of one line, or of one line over and over, in 2 MB."""
    line = b"x" * (1 << 20) if kind == "one line" else (b"1 2\n" * (1 << 18))
    whole = gzip.compress(line, 9)
    return whole * 2048


BOMBS = {
    "gzip, one line": ("pairs", ".gz", lambda: _bomb("one line"), "line 1 is longer"),
    "gzip, many lines": ("pairs", ".gz", lambda: _bomb("many lines"), "times its size"),
    "gzip, of CSV": ("csv", ".gz", lambda: _bomb("many lines"), "times its size"),
    "a value of 128 MiB in Parquet": (
        "parquet",
        "",
        lambda: written(pa.table({"user_id": ["x" * (1 << 27)], "item_id": ["1"]}), compression="zstd"),
        "times its size",
    ),
    "JSON of a million brackets": ("amazon-json", "", lambda: b"[" * (1 << 20), "line 1"),
    "a CSV of 100000 columns": ("csv", "", lambda: b"a," * 100_000 + b"\n1,2\n", "'user_id'"),
    "a CSV of which a quote is never closed": ("csv", "", lambda: added("csv", b'"') + b"1,2,3\n" * (1 << 22), "quote"),
}
# Those of which the default run tries a cheaper one of the same kind.
SLOW = {"gzip, of CSV", "a value of 128 MiB in Parquet", "a CSV of 100000 columns"}


@pytest.mark.timeout(150)
@pytest.mark.parametrize(
    "bomb",
    [pytest.param(bomb, id=name, marks=pytest.mark.slow if name in SLOW else ()) for name, bomb in BOMBS.items()],
)
def test_a_bomb_is_refused_in_bounded_memory_and_time(tmp_path: Path, bomb: tuple) -> None:
    kind, suffix, make, named = bomb
    source = put(tmp_path, file_name(kind) + suffix, make())
    before = sorted(held(tmp_path))
    ended = call_apart(tmp_path, "data", "import", "--format", format_of(kind), source, "--out", tmp_path / "new")
    assert_refused(ended, 2, (str(source), named))
    assert ended.peak_bytes < GIB, f"{ended.peak_bytes / GIB:.2f} GiB"
    assert ended.cpu_s < 20
    assert sorted(held(tmp_path)) == before


SOURCES = {
    "a folder": (lambda at: at.mkdir(), "is a folder"),
    "nothing": (lambda at: None, "does not exist"),
    "a link to nothing": (lambda at: at.symlink_to("nowhere"), "does not exist"),
    "a link to itself": (lambda at: at.symlink_to(at.name), "loop"),
    "a device without end": (lambda at: at.symlink_to("/dev/zero"), "is a pipe or a device"),
    "a pipe": (lambda at: os.mkfifo(at), "is a pipe or a device"),
}


@pytest.mark.timeout(150)
@pytest.mark.parametrize(("make", "named"), SOURCES.values(), ids=SOURCES)
@pytest.mark.parametrize("kind", ["pairs", "parquet"])
def test_a_source_that_is_no_file_is_refused(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, kind: str, make: object, named: str
) -> None:
    source = tmp_path / "source"
    make(source)
    before = sorted(tmp_path.iterdir())
    ended = call(capfd, "data", "import", "--format", kind, source, "--out", tmp_path / "new")
    assert_refused(ended, 2, (str(source), named))
    assert sorted(tmp_path.iterdir()) == before
