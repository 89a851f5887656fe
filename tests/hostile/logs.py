"""Small interaction logs in every format that `rsir data import` reads, for tests to damage."""

import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

USERS, ITEMS, LENGTH = 6, 5, 4
ROWS = [(user, (user + step) % ITEMS, 100 + step) for user in range(USERS) for step in range(LENGTH)]


def _lines(form: str) -> str:
    return "".join(form.format(u=user, i=item, t=time) + "\n" for user, item, time in ROWS)


_SEQUENCES = "".join(
    f"{user} {' '.join(str((user + step) % ITEMS) for step in range(LENGTH))}\n" for user in range(USERS)
)
# By kind: the name of its file, and its text.
CLEAN: dict[str, tuple[str, str]] = {
    "sequences": ("log.txt", _SEQUENCES),
    "pairs": ("log.txt", _lines("{u} {i}")),
    "recbole": ("log.inter", "user_id:token\titem_id:token\ttimestamp:float\n" + _lines("{u}\t{i}\t{t}")),
    "amazon-json": ("log.json", _lines('{{"reviewerID": "{u}", "asin": "{i}", "unixReviewTime": {t}}}')),
    "amazon-csv": ("log.csv", _lines("{u},{i},5.0,{t}")),
    "movielens-data": ("u.data", _lines("{u}\t{i}\t3\t{t}")),
    "movielens-dat": ("ratings.dat", _lines("{u}::{i}::3::{t}")),
    "movielens-csv": ("ratings.csv", "userId,movieId,rating,timestamp\n" + _lines("{u},{i},3,{t}")),
    "csv": ("log.csv", "user_id,item_id,timestamp\n" + _lines("{u},{i},{t}")),
}
HEADER_KINDS = ("recbole", "movielens-csv", "csv")
TIMED = ("recbole", "amazon-csv", "movielens-data", "movielens-dat", "movielens-csv", "csv")


def format_of(kind: str) -> str:
    """What `--format` calls it."""
    return "movielens" if kind.startswith("movielens") else kind


def clean(kind: str) -> bytes:
    """A log with nothing wrong."""
    return parquet() if kind == "parquet" else CLEAN[kind][1].encode()


def file_name(kind: str) -> str:
    """The name that its file has."""
    return "log.parquet" if kind == "parquet" else CLEAN[kind][0]


def last_line(kind: str) -> str:
    """The last line of a clean log: user 5, item 3, time 103."""
    return CLEAN[kind][1].splitlines()[-1]


def added(kind: str, line: str | bytes) -> bytes:
    """A clean log with one line more."""
    return clean(kind) + (line.encode() if isinstance(line, str) else line) + b"\n"


def parquet(**columns: object) -> bytes:
    """The log as Parquet, with some columns in place of its own, or None for none."""
    good = {name: [row[place] for row in ROWS] for place, name in enumerate(("user_id", "item_id", "timestamp"))}
    return written(pa.table({name: values for name, values in (good | columns).items() if values is not None}))


def written(table: pa.Table, **settings: object) -> bytes:
    """A table as the bytes of a Parquet file."""
    sink = io.BytesIO()
    pq.write_table(table, sink, **settings)
    return sink.getvalue()


def put(folder: Path, name: str, data: bytes) -> Path:
    """Write a file, and the folders above it."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path
