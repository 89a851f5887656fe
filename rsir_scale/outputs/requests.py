"""Whom to recommend to: users of the log, or sessions from a file; what the dataset does not know is told apart.

Comes in: ids and the dataset. Goes out: contexts of item indices under the names that the output carries, and what was
skipped. An id that the dataset lacks is either below its k-core, of which the import kept a list, or never seen. With
`unknown="refuse"` the first such id stops everything; with `"skip"` a session goes on without its unknown items, and
one that keeps none, like an unknown user, is left out.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from rsir_scale.data.asked import Asked
from rsir_scale.data.dataset import PreparedDataset, Sequences
from rsir_scale.data.ids import clean_id
from rsir_scale.data.readers import read_log
from rsir_scale.data.schema import ITEM_ID, ORDER, TIME, USER_ID
from rsir_scale.data.sequences import Int64Array, offsets_of
from rsir_scale.data.split import put_back
from rsir_scale.data.text_files import check_text
from rsir_scale.errors import InputError, shown

Unknown = Literal["skip", "refuse"]
SESSION_ID = "session_id"
_BELOW, _NEVER = "below the k-core of the dataset", "not in the dataset"
_FORM = (
    "write CSV or Parquet with session_id, item_id and, if there are, timestamp; JSON lines with session_id and items; "
    "or text with `session item item …` a line, oldest first"
)
_SHOWN = 10


@dataclass(frozen=True)
class Skip:
    """An id that was left out: `user` or `item`, of which session or list, and why."""

    kind: str
    id: str
    of: str
    why: str


@dataclass(frozen=True)
class Request:
    """Contexts to recommend for.

    Attributes:
        column: what the output calls the names.
        names: str[N].
        contexts: N rows of item indices, oldest first.
        skipped: what was left out.
    """

    column: str
    names: npt.NDArray[np.object_]
    contexts: Sequences
    skipped: tuple[Skip, ...] = ()


def for_users(dataset: PreparedDataset, users: Sequence[str] | None, *, unknown: Unknown = "refuse") -> Request:
    """All that is known of users, held-out items included; of all of them for None.

    Raises:
        InputError: an unknown user, unless it is to be skipped.
    """
    held_out, ids = dataset.held_out(), dataset.user_ids()
    whole = put_back(dataset.training_sequences(), held_out.validation, held_out.test)
    if users is None:
        return Request(USER_ID, ids, whole)
    index = {user: row for row, user in enumerate(ids.tolist())}
    absent = [user for user in users if user not in index]
    skipped = _judged("user", [(user, "--users") for user in absent], dataset, unknown)
    rows = np.array([index[user] for user in users if user in index], dtype=np.int64)
    return Request(USER_ID, ids[rows], whole.select(rows), skipped)


def for_sessions(dataset: PreparedDataset, sessions: Mapping[str, Sequence[str]], *, unknown: Unknown) -> Request:
    """Sessions of the log's own item ids.

    Raises:
        InputError: an unknown item, unless it is to be skipped.
    """
    index = {item: place for place, item in enumerate(dataset.item_ids().tolist(), start=1)}
    absent = [(item, name) for name, items in sessions.items() for item in items if item not in index]
    skipped = _judged("item", absent, dataset, unknown)
    known = {name: [index[item] for item in items if item in index] for name, items in sessions.items()}
    empty = [Skip("session", name, "--sessions", "no item is known") for name, items in known.items() if not items]
    if empty and unknown == "refuse":
        raise InputError(f"session {shown(empty[0].id)} has no item: take it out, or give --unknown skip")
    kept = {name: items for name, items in known.items() if items}
    contexts = Sequences(
        np.arange(len(kept), dtype=np.int64),
        offsets_of([len(items) for items in kept.values()]),
        np.array([item for items in kept.values() for item in items], dtype=np.int32),
    )
    return Request(SESSION_ID, np.array(list(kept), dtype=np.object_), contexts, (*skipped, *empty))


def allowed_items(
    dataset: PreparedDataset, *, allow: Sequence[str] | None, deny: Sequence[str], unknown: Unknown
) -> tuple[Int64Array | None, tuple[Skip, ...]]:
    """Item indices that may be recommended, ascending, or None for all; and unknown ids of the lists.

    Raises:
        InputError: an unknown item, unless it is to be skipped; or nothing may be recommended.
    """
    if allow is None and not deny:
        return None, ()
    ids = dataset.item_ids().tolist()
    known = set(ids)
    asked = [(item, "--allow") for item in allow or ()] + [(item, "--deny") for item in deny]
    skipped = _judged("item", [(item, of) for item, of in asked if item not in known], dataset, unknown)
    wanted, banned = known if allow is None else set(allow), set(deny)
    allowed = [place for place, item in enumerate(ids, start=1) if item in wanted and item not in banned]
    if not allowed:
        raise InputError("--allow and --deny leave no item of the catalogue to recommend: allow one, or ban fewer")
    return np.array(allowed, dtype=np.int64), skipped


def read_ids(path: Path, option: str) -> list[str]:
    """Ids of a text file, one a line, by the rule for ids.

    Raises:
        InputError: it is not a text file.
    """
    lines = [line for line in _text_lines(path, option, "name a text file with one id a line") if line.strip()]
    return _clean(lines)


def read_sessions(path: Path) -> dict[str, list[str]]:
    """Sessions of a file, in its order: ids by the rule for ids, items oldest first.

    Raises:
        InputError: it is none of the forms, or a line is not of its form.
    """
    if path.suffix in (".csv", ".tsv", ".parquet"):
        return _of_table(path)
    sessions: dict[str, list[str]] = {}
    parse = _of_json if path.suffix in (".jsonl", ".json", ".ndjson") else _of_words
    for number, line in enumerate(_text_lines(path, "--sessions", _FORM), start=1):
        if line.strip():
            (name, *items) = _clean(parse(line, f"--sessions {path}, line {number}"))
            if name in sessions:
                raise InputError(f"--sessions {path}, line {number}: session {shown(name)} is there twice: join them")
            sessions[name] = items
    return sessions


def _of_table(path: Path) -> dict[str, list[str]]:
    log_format = "parquet" if path.suffix == ".parquet" else "csv"
    try:
        names = (
            pl.read_parquet_schema(path)
            if log_format == "parquet"
            else pl.scan_csv(path, infer_schema=False, glob=False, separator="\t" if path.suffix == ".tsv" else ",")
            .collect_schema()
            .names()
        )
    except (OSError, pl.exceptions.PolarsError) as error:
        raise InputError(f"--sessions {path} cannot be read ({str(error)[:200]}): {_FORM}") from error
    name = SESSION_ID if SESSION_ID in names else USER_ID
    if name not in names or ITEM_ID not in names:
        raise InputError(f"--sessions {path} has the columns {', '.join(map(shown, names))}: {_FORM}")
    asked = Asked(log_format, user=name, no_times="timestamp" not in names)
    with TemporaryDirectory(prefix="rsir-sessions-") as scratch:
        rows = read_log(path, Path(scratch), asked).frame.sort(TIME, ORDER).collect()
    first = rows.group_by(USER_ID).agg(pl.col(ORDER).min().alias("first"), pl.col(ITEM_ID))
    return dict(first.sort("first").select(USER_ID, ITEM_ID).iter_rows())


def _clean(ids: list[str]) -> list[str]:
    return pl.DataFrame({ITEM_ID: pl.Series(ids, dtype=pl.String)}).select(clean_id(ITEM_ID))[ITEM_ID].to_list()


def _of_json(line: str, where: str) -> list[str]:
    """The session's id, then its items'."""
    try:
        found = json.loads(line)
        name, items = found[SESSION_ID], found["items"]
    except (ValueError, RecursionError, TypeError, KeyError) as error:
        raise InputError(f"{where}: {shown(line)} has no session_id and items ({error}): {_FORM}") from error
    if not isinstance(items, list):
        raise InputError(
            f"{where}: items={shown(str(items))} is not a list: write items as ['a', 'b'], in double quotes"
        )
    for one in (name, *items):
        if isinstance(one, bool) or not isinstance(one, str | int | float):
            raise InputError(f"{where}: the id {shown(str(one))} is neither text nor a number: {_FORM}")
    return [str(one) for one in (name, *items)]


def _of_words(line: str, where: str) -> list[str]:
    """The session's id, then its items'."""
    ids = line.split()
    if len(ids) < 2:
        raise InputError(f"{where}: session {shown(ids[0])} has no item: {_FORM}")
    return ids


def _text_lines(path: Path, option: str, way_out: str) -> Iterator[str]:
    try:
        if not path.is_file():
            raise InputError(f"{option} {shown(str(path))} is not a file: {way_out}")
        check_text(path)
        # An id may hold what else ends a line for Python, such as U+2028.
        yield from path.read_text(encoding="utf-8-sig").replace("\r\n", "\n").split("\n")
    except (OSError, ValueError) as error:
        raise InputError(f"{option} {shown(str(path))} cannot be read ({str(error)[:200]}): {way_out}") from error


def _judged(
    kind: Literal["user", "item"], absent: Sequence[tuple[str, str]], dataset: PreparedDataset, unknown: Unknown
) -> tuple[Skip, ...]:
    """Say why ids are absent, or refuse them."""
    if not absent:
        return ()
    below = dataset.dropped_ids("users" if kind == "user" else "items")
    skipped = tuple(Skip(kind, name, of, _BELOW if name in below else _NEVER) for name, of in absent)
    if unknown == "refuse":
        told = "; ".join(f"{kind} {shown(skip.id)} ({skip.of}) is {skip.why}" for skip in skipped[:_SHOWN])
        raise InputError(
            f"{told}{'; …' if len(skipped) > _SHOWN else ''} ({len(skipped)} in all; the dataset is {dataset.path}): "
            "take them out, or give --unknown skip"
        )
    return skipped
