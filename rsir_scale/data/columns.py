"""Which columns of a log are its users, items and times; no time column is left out in silence.

Comes in: the names that a file has, a few of its rows, and what the user asked for. Goes out: `Columns`, or an error
that names what is there and which options settle it. A column called `timestamp` is the time unless another one is
named; any other that looks like one, by its name or by its values, must be named or refused by `--no-times`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rsir_scale.data.asked import Asked
from rsir_scale.data.layouts import like
from rsir_scale.data.times import ISO
from rsir_scale.errors import InputError, shown

_NAMES = frozenset(
    f"{stem}{plural}"
    for stem in ("time", "timestamp", "ts", "dt", "date", "datetime", "dat", "day", "created", "epoch", "when")
    for plural in ("", "s")
)
_ENDS = ("time", "date", "stamp")
_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|[0-9]+")
_EPOCH = re.compile(r"1[0-9]{9}(?:[0-9]{3}){0,3}(?:\.[0-9]+)?|1\.[0-9]+[eE]\+?(?:0?9|12|15|18)")
_SHOWN_COLUMNS = 20


@dataclass(frozen=True)
class Columns:
    """Names of a log's columns; `time` None: the log has no times and the file's order counts."""

    user: str
    item: str
    time: str | None
    others: tuple[str, ...] = ()

    def names(self) -> list[str]:
        """The wanted columns, each once, without the time where there is none."""
        return list(dict.fromkeys([self.user, self.item, *([] if self.time is None else [self.time]), *self.others]))


def resolve(
    asked: Asked, present: Sequence[str], source: str, *, rows: Mapping[str, Sequence[object]] | None = None
) -> Columns:
    """Find the columns of a log.

    Args:
        asked: what the user named; the defaults are user_id, item_id and timestamp.
        present: the names that the file has.
        source: the file, for messages.
        rows: a few values of each column, by which one that looks like times is found.

    Raises:
        InputError: a column is not there, is there twice, or looks like a time and is not spoken of.
    """
    user, item = asked.user or "user_id", asked.item or "item_id"
    default = "timestamp" if "timestamp" in present else None
    time = None if asked.no_times else asked.time or default
    columns = Columns(user, item, time, tuple(asked.conditions_on()))
    for name in columns.names():
        if name not in present:
            raise _absent(name, present, source, asked)
        # Polars gives the second of two columns of one name a name of its own.
        if list(present).count(name) > 1 or f"{name}_duplicated_0" in present:
            raise InputError(f"{source} has two columns {shown(name)}: rename one, or take it out")
    if user == item:
        raise InputError(f"{source}: column {shown(user)} cannot be both users and items: name two columns")
    if time is None and not asked.no_times:
        _refuse_unspoken(source, [name for name in present if name not in (user, item)], rows or {})
    return columns


def _absent(name: str, present: Sequence[str], source: str, asked: Asked) -> InputError:
    there = ", ".join(shown(other) for other in present[:_SHOWN_COLUMNS]) or "none at all"
    if not asked.header:
        return InputError(
            f"{source} has no column {shown(name)}; it has {len(present)} columns and no header: give --user-column, "
            "--item-column and --time-column (or --no-times) by position, from 1"
        )
    known = like(present)
    layout = f"; these are the columns of --layout {known}" if known else ""
    header = "" if name in asked.conditions_on() else "; if its first line is not a header, give --no-header as well"
    return InputError(
        f"{source} has no column {shown(name)}; it has {there}: name its columns with --user-column, --item-column and "
        f"--time-column{header}{layout}"
    )


def _refuse_unspoken(source: str, others: Sequence[str], rows: Mapping[str, Sequence[object]]) -> None:
    likely = [name for name in others if _named_like_a_time(name) or _hold_times(rows.get(name, ()))]
    if likely:
        which = ", ".join(shown(name) for name in likely)
        raise InputError(
            f"{source}: {which} look{'s' if len(likely) == 1 else ''} like times: give --time-column {likely[0]} to "
            "use them, or --no-times where the order of the file is the order of time"
        )


def _named_like_a_time(name: str) -> bool:
    words = [word.lower() for word in _WORDS.findall(name)]
    return any(word in _NAMES or word.endswith(_ENDS) for word in words)


def _hold_times(values: Sequence[object]) -> bool:
    texts = [str(value).strip() for value in values if value is not None and str(value).strip()]
    return bool(texts) and all(re.match(ISO, text) or _EPOCH.fullmatch(text) for text in texts)
