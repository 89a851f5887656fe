"""Small interaction logs for the data room's tests, and a preparation written the slow, obvious way."""

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
from hypothesis import strategies as st

from rsir_scale.data.asked import Asked
from rsir_scale.data.readers import Log, read_log

Interaction = tuple[str, str, float]


@st.composite
def interactions(draw: st.DrawFn, *, max_size: int = 60) -> list[Interaction]:
    """Logs dense enough to have a k-core, with repeats, ties in time and gaps."""
    row = st.tuples(
        st.integers(0, 7).map(lambda user: f"u{user}"),
        st.integers(0, 9).map(lambda item: f"{item}"),
        st.integers(0, 6).map(float),
    )
    return draw(st.lists(row, min_size=1, max_size=max_size))


def read(log_format: str, source: str | Path, **options: object) -> Log:
    """What `read_log` gives, in memory."""
    with TemporaryDirectory() as scratch:
        log = read_log(source, Path(scratch), Asked(log_format, **options))  # type: ignore[arg-type]
        return replace(log, frame=log.frame.collect().lazy())


def as_log(rows: list[Interaction], *, with_times: bool = True) -> pl.LazyFrame:
    """The frame that `read_log` would give for these rows."""
    return pl.LazyFrame(
        {
            "user_id": [row[0] for row in rows],
            "item_id": [row[1] for row in rows],
            "time": [row[2] if with_times else None for row in rows],
            "order": range(len(rows)),
        },
        schema={"user_id": pl.String, "item_id": pl.String, "time": pl.Float64, "order": pl.Int64},
    )


def naive_core(rows: list[Interaction], min_count: int) -> list[Interaction]:
    """Drop users, then items, below `min_count`, in turn, until nothing drops."""
    while True:
        users = Counter(row[0] for row in rows)
        kept = [row for row in rows if users[row[0]] >= min_count]
        items = Counter(row[1] for row in kept)
        kept = [row for row in kept if items[row[1]] >= min_count]
        if kept == rows:
            return rows
        rows = kept


@dataclass
class Naive:
    """What a preparation must come to, in the log's own ids."""

    users: list[str]
    items: list[str]
    sequences: dict[str, list[Interaction]]


def naive_prepare(rows: list[Interaction], *, min_count: int, max_length: int, with_times: bool = True) -> Naive:
    """The whole preparation over plain lists: k-core, order, truncation."""
    kept = naive_core(rows, min_count)
    users = [user for user in dict.fromkeys(row[0] for row in rows) if any(row[0] == user for row in kept)]
    items = [item for item in dict.fromkeys(row[1] for row in rows) if any(row[1] == item for row in kept)]
    sequences = {}
    for user in users:
        own = [row for row in kept if row[0] == user]
        sequences[user] = (sorted(own, key=lambda row: row[2]) if with_times else own)[-max_length:]
    return Naive(users, items, sequences)
