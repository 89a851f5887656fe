"""Files → a prepared dataset, and what the user is told of it: `rsir data import` in one call.

Comes in: a source, how to read it and how to prepare it. Goes out: the dataset, the steps from rows to interactions,
and notes on whatever may surprise. Reading and preparing are the affair of `readers` and `prepare`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import cast

from rsir_scale.data.asked import Asked
from rsir_scale.data.buckets import Duplicates
from rsir_scale.data.dataset import DatasetMeta
from rsir_scale.data.layouts import recognised
from rsir_scale.data.prepare import prepare
from rsir_scale.data.readers import Log, read_log
from rsir_scale.errors import InputError
from rsir_scale.steps import Tell, silent

_TOLD_TIES = 0.1  # of all users


@dataclass(frozen=True)
class Imported:
    """A dataset that was made.

    Attributes:
        meta: its facts.
        steps: from rows of the log to interactions, a mapping a step.
        notes: what the user should know, in sentences.
    """

    meta: DatasetMeta
    steps: list[dict[str, object]]
    notes: tuple[str, ...]


def import_files(
    source: str | Path,
    out: str | Path,
    asked: Asked,
    *,
    min_count: int,
    max_length: int,
    duplicates: str,
    split: str,
    tell: Tell = silent,
) -> Imported:
    """Read a log and prepare it; see `read_log` and `prepare` for arguments and errors.

    Raises:
        InputError: neither a format nor a layout is named; else as those do.
    """
    if not asked.log_format and asked.layout is None:
        known = recognised(source)
        guess = f"; it looks like --layout {known}" if known else ""
        raise InputError(f"{source}: how it is written is not said: give --format, or --layout{guess}")
    notes: list[str] = []

    def read(scratch: Path) -> Log:
        log = read_log(source, scratch, asked, given=split == "given")
        notes.extend(log.notes)
        return log

    meta = prepare(
        read,
        out,
        min_count=min_count,
        max_length=max_length,
        duplicates=cast(Duplicates, duplicates),
        split=split,
        tell=tell,
    )
    log = meta.log
    tied = 0 if log is None else log.tied_users
    if tied > _TOLD_TIES * meta.users:
        notes.append(
            f"ties: {tied} of {meta.users} users ({tied / meta.users:.0%}) have equal times among their last three "
            "interactions, so the order of the file decides what is held out: sort the log, or give finer times"
        )
    return Imported(meta, [] if log is None else log.steps(), tuple(notes))
