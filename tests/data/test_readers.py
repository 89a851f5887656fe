import gzip
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rsir_scale.data.readers import FORMATS, Log
from rsir_scale.errors import InputError
from tests.data.logs import Interaction, interactions, read

NAMED = {"user": "who", "item": "what", "time": "when"}


def lines(rows: list[Interaction], form: str, header: str | None = None) -> str:
    head = [] if header is None else [header]
    return "".join(line + "\n" for line in [*head, *(form.format(u=u, i=i, t=int(t)) for u, i, t in rows)])


def reviews(rows: list[Interaction]) -> str:
    return "".join(
        json.dumps({"reviewerID": u, "asin": i, "overall": 5.0, "helpful": [0, 1], "unixReviewTime": int(t)}) + "\n"
        for u, i, t in rows
    )


TEXTS: dict[str, tuple[str, str, Callable[[list[Interaction]], str], dict[str, str]]] = {
    "recbole": ("recbole", "log.inter", lambda rows: lines(rows, "{u}\t{i}\t{t}", RECBOLE_HEADER), {}),
    "amazon json": ("amazon-json", "log.json", reviews, {}),
    "amazon csv": ("amazon-csv", "log.csv", lambda rows: lines(rows, "{u},{i},5.0,{t}"), {}),
    "movielens data": ("movielens", "u.data", lambda rows: lines(rows, "{u}\t{i}\t3\t{t}"), {}),
    "movielens dat": ("movielens", "ratings.dat", lambda rows: lines(rows, "{u}::{i}::3::{t}"), {}),
    "movielens csv": ("movielens", "r.csv", lambda rows: lines(rows, "{u},{i},3.5,{t}", MOVIELENS_HEADER), {}),
    "csv": ("csv", "log.csv", lambda rows: lines(rows, '{t},"{u}",{i}', "when,who,what"), NAMED),
    "semicolons": ("csv", "log.csv", lambda rows: lines(rows, "{t};{u};{i}", "when;who;what"), NAMED),
}
RECBOLE_HEADER = "user_id:token\titem_id:token\ttimestamp:float"
MOVIELENS_HEADER = "userId,movieId,rating,timestamp"


def rows_of(log: Log) -> list[Interaction]:
    frame = log.frame.collect()
    assert frame.columns == ["order", "user_id", "item_id", "time"]
    assert frame["order"].is_sorted()
    assert frame["order"].n_unique() == frame.height
    return frame.select("user_id", "item_id", "time").rows()


@settings(max_examples=20)
@given(interactions(max_size=20), st.sampled_from(sorted(TEXTS)), st.booleans(), st.booleans(), st.booleans())
def test_every_format_with_times_gives_the_same_interactions(
    rows: list[Interaction], kind: str, bom: bool, windows: bool, zipped: bool
) -> None:
    log_format, name, write, columns = TEXTS[kind]
    text = ("\ufeff" if bom else "") + write(rows)
    data = (text.replace("\n", "\r\n") if windows else text).encode()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / (name + ".gz" if zipped else name)
        path.write_bytes(gzip.compress(data) if zipped else data)
        assert rows_of(read(log_format, path, **columns)) == rows


def test_a_log_that_may_not_be_read_is_told_as_one(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "log.csv"
    path.write_text("user_id,item_id\n1,2\n")

    def refused(file: Path) -> None:
        raise PermissionError(13, "Permission denied", str(file))

    monkeypatch.setattr("rsir_scale.data.parts.check_text", refused)
    with pytest.raises(InputError, match=r"log\.csv cannot be read .*Permission denied"):
        read("csv", path)


@settings(max_examples=20)
@given(interactions(max_size=20), st.booleans(), st.booleans())
def test_formats_without_times_keep_the_order_of_the_file(rows: list[Interaction], bom: bool, windows: bool) -> None:
    end = "\r\n" if windows else "\n"
    by_user: dict[str, list[str]] = {}
    for user, item, _ in rows:
        by_user.setdefault(user, []).append(item)
    sequences = end.join(" ".join([user, *items]) for user, items in by_user.items())
    pairs = end.join(f"{user} {item}" for user, item, _ in rows)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log.txt"
        path.write_bytes((("\ufeff" if bom else "") + sequences + end).encode())
        assert rows_of(read("sequences", path)) == [(u, i, None) for u, items in by_user.items() for i in items]
        path.write_bytes((("\ufeff" if bom else "") + pairs).encode())
        assert rows_of(read("pairs", path)) == [(user, item, None) for user, item, _ in rows]


@pytest.mark.parametrize("dtype", [pl.Int64, pl.Float32, pl.String, pl.Datetime("ms"), pl.Date])
def test_parquet_times_may_be_numbers_dates_or_text(tmp_path: Path, dtype: pl.DataType) -> None:
    days = pl.Series([0, 86_400], dtype=pl.Int64)
    when = pl.from_epoch(days).cast(dtype) if dtype in (pl.Date, pl.Datetime("ms")) else days.cast(dtype)
    pl.DataFrame({"who": [7, 8], "what": [70, 80], "when": when, "order": [0, 0]}).write_parquet(tmp_path / "log")
    assert rows_of(read("parquet", tmp_path / "log", **NAMED)) == [("7", "70", 0.0), ("8", "80", 86_400.0)]


def test_parquet_times_beyond_what_can_be_held_are_refused(tmp_path: Path) -> None:
    when = pa.array([1_700_000_000_000_000_000], pa.timestamp("ms"))
    pq.write_table(pa.table({"user_id": ["u"], "item_id": ["i"], "timestamp": when}), tmp_path / "log")
    with pytest.raises(InputError, match="out of bounds"):
        rows_of(read("parquet", tmp_path / "log"))


def test_parquet_times_in_nanoseconds_keep_their_microseconds(tmp_path: Path) -> None:
    when = pa.array([1_700_000_000_123_456_789], pa.timestamp("ns"))
    pq.write_table(pa.table({"user_id": ["u"], "item_id": ["i"], "timestamp": when}), tmp_path / "log")
    assert rows_of(read("parquet", tmp_path / "log")) == [("u", "i", 1_700_000_000.123456)]


def test_default_columns_are_user_id_item_id_and_timestamp_if_there(tmp_path: Path) -> None:
    (tmp_path / "with.csv").write_text("timestamp,item_id,user_id\n3,i,u\n")
    (tmp_path / "without.csv").write_text("item_id,user_id\ni,u\n")
    assert rows_of(read("csv", tmp_path / "with.csv")) == [("u", "i", 3.0)]
    assert rows_of(read("csv", tmp_path / "without.csv")) == [("u", "i", None)]


def test_ids_keep_their_zeros_and_quotes_and_whole_numbers_lose_their_fraction(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text('user_id,item_id\n007,"a, ""b"""\nné,1.0\n')
    assert rows_of(read("csv", tmp_path / "log.csv")) == [("007", 'a, "b"', None), ("né", "1", None)]


def test_blank_lines_are_skipped(tmp_path: Path) -> None:
    (tmp_path / "log.txt").write_text("\n1 2\n\n  \n3 4\n")
    (tmp_path / "log.csv").write_text("user_id,item_id\n\n1,2\n\n3,4\n")
    (tmp_path / "log.tsv").write_text("\n\r\nuser_id\titem_id\n1\t2\n\n3\t4\n")
    for log_format, name in (("pairs", "log.txt"), ("csv", "log.csv"), ("csv", "log.tsv")):
        assert rows_of(read(log_format, tmp_path / name)) == [("1", "2", None), ("3", "4", None)]


BAD: dict[str, tuple[str, str, str, str]] = {
    "item id no integer": ("sequences", "x.txt", "1 2 3\n\n2 3 4x 5\n", "line 3: item id '4x' is not an integer"),
    "item id a fraction": ("sequences", "x.txt", "1 2.5\n", "line 1: item id '2.5' is not an integer"),
    "pair of three": ("pairs", "x.txt", "1 2\n1 2 3\n", "line 2: '1 2 3' is not `user item`"),
    "pair of one": ("pairs", "x.txt", "1\n", "line 1: '1' is not `user item`"),
    "time no number": ("csv", "x.csv", "user_id,item_id,timestamp\n1,2,3\n1,2,soon\n", "line 3: time 'soon'"),
    "ids missing": ("csv", "x.csv", "user_id,item_id,rating\n1,2,3\n,,5\n", "line 3: user_id is missing"),
    "time missing": ("csv", "x.csv", "user_id,item_id,timestamp\n1,2,\n", "line 2: time None"),
    "time infinite": ("csv", "x.csv", "user_id,item_id,timestamp\n1,2,inf\n", "line 2: time 'inf'"),
    "user missing": ("csv", "x.csv", "user_id,item_id\n,2\n", "line 2: user_id is missing"),
    "item missing": ("csv", "x.csv", "user_id,item_id\n1,\n", "line 2: item_id is missing"),
    "column missing": ("csv", "x.csv", "user_id,movie\n1,2\n", "no column 'item_id'; it has 'user_id', 'movie'"),
    "row too long": ("csv", "x.csv", "user_id,item_id\n1,2\n1,2,3\n", "line 3: '3' lies beyond the columns"),
    "recbole header": ("recbole", "x.inter", "user:token\titem_id:token\n1\t2\n", "no column 'user_id'"),
    "recbole time": ("recbole", "x.inter", "user_id:token\titem_id:token\ttimestamp:float\n1\t2\tx\n", "time 'x'"),
    "amazon fields": ("amazon-csv", "x.csv", "u,i,5\n", "line 1: 'u,i,5' is not `user,item,rating,timestamp`"),
    "amazon time": ("amazon-csv", "x.csv", "u,i,5,1\nu,i,5,x\n", "line 2: time 'x'"),
    "review without item": (
        "amazon-json",
        "x.json",
        '{"reviewerID": "u", "unixReviewTime": 1}\n',
        "asin is missing",
    ),
    "review time": (
        "amazon-json",
        "x.json",
        '{"reviewerID":"u","asin":"i","unixReviewTime":"x"}\n',
        "unixReviewTime 'x'",
    ),
    "review no json": ("amazon-json", "x.json", "{}\n{'reviewerID': 1}\n", "line 2: \"{'reviewerID': 1}\" is not JSON"),
    "movielens fields": ("movielens", "u.data", "1\t2\t3\t4\n1 2 3 4\n", "line 2: '1 2 3 4'"),
    "movielens suffix": ("movielens", "u.txt", "1\t2\t3\t4\n", "ends in '.txt'"),
    "not parquet": ("parquet", "x.parquet", "1,2\n", "not readable as parquet"),
    "unknown format": ("excel", "x.xls", "1\n", "format 'excel' is unknown"),
}


@pytest.mark.parametrize("case", sorted(BAD))
def test_a_bad_log_is_refused_by_file_line_and_value(tmp_path: Path, case: str) -> None:
    log_format, name, text, message = BAD[case]
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError) as caught:
        read(log_format, tmp_path / name)
    assert message in str(caught.value)


@pytest.mark.parametrize("log_format", FORMATS)
@pytest.mark.parametrize("content", ["", "\n\n", "\ufeff"])
def test_an_empty_log_is_an_input_error(tmp_path: Path, log_format: str, content: str) -> None:
    path = tmp_path / "log.csv"
    path.write_text(content)
    with pytest.raises(InputError, match=r"log\.csv"):
        read(log_format, path)


@pytest.mark.parametrize("log_format", FORMATS)
def test_bytes_that_are_no_text_are_an_input_error(tmp_path: Path, log_format: str) -> None:
    path = tmp_path / "log.csv"
    path.write_bytes(bytes(range(256)) * 20)
    with pytest.raises(InputError, match=r"log\.csv"):
        read(log_format, path)


@pytest.mark.parametrize("log_format", FORMATS)
def test_a_missing_file_and_a_folder_are_input_errors(tmp_path: Path, log_format: str) -> None:
    with pytest.raises(InputError, match="does not exist"):
        read(log_format, tmp_path / "absent.csv")
    with pytest.raises(InputError, match="is a folder"):
        read(log_format, tmp_path)


def test_a_time_column_that_was_asked_for_must_be_there(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("user_id,item_id\n1,2\n")
    with pytest.raises(InputError, match="no column 'when'"):
        read("csv", tmp_path / "log.csv", time="when")


def test_columns_cannot_be_named_where_they_are_fixed(tmp_path: Path) -> None:
    (tmp_path / "log.txt").write_text("1 2\n")
    with pytest.raises(InputError, match="fixed columns"):
        read("pairs", tmp_path / "log.txt", user="u")


def test_a_parquet_time_of_another_type_is_an_input_error(tmp_path: Path) -> None:
    pl.DataFrame({"user_id": ["u"], "item_id": ["i"], "timestamp": [[1]]}).write_parquet(tmp_path / "log")
    with pytest.raises(InputError, match=r"time column is of type .*list"):
        read("parquet", tmp_path / "log")


def test_a_name_with_wildcards_is_one_file(tmp_path: Path) -> None:
    (tmp_path / "log[1].txt").write_text("1 2\n")
    (tmp_path / "log1.txt").write_text("3 4\n")
    assert rows_of(read("pairs", tmp_path / "log[1].txt")) == [("1", "2", None)]
