"""An interaction log → a prepared dataset: duplicates, k-core, time order, split, truncation.

Comes in: a log as a frame, or what `readers.read_log` makes of files. Goes out: the folder that `dataset.open_dataset`
reads. Users and items are numbered in the order in which they first appear in the file, without gaps for those that the
k-core drops. The catalogue is every item left after the k-core, also one that only held-out or truncated interactions
have; where a split by time or a given one says what may train, the k-core counts that alone. Memory holds the
vocabularies and one bucket of users; the log itself streams through a scratch folder beside `out`.
"""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

import numpy as np
import polars as pl

from rsir_scale.data.buckets import ITEM_CODE, USER_CODE, Buckets, Duplicates, bucket_log
from rsir_scale.data.dataset import DatasetMeta
from rsir_scale.data.funnel import Funnel
from rsir_scale.data.kcore import Mask, k_core
from rsir_scale.data.readers import Log
from rsir_scale.data.schema import GIVEN, ITEM_ID, ORDER, SKIPPED_FILE, TIME, USER_ID
from rsir_scale.data.sequences import Float64Array, Sequences, offsets_of
from rsir_scale.data.split import LEAVE_ONE_OUT, MIN_TO_HOLD_OUT, keep_last
from rsir_scale.data.splitting import LABEL, SplitRule, split_rule
from rsir_scale.data.writer import DatasetWriter, refuse_existing, writing
from rsir_scale.errors import InputError, shown
from rsir_scale.steps import Step, Tell, silent

BUCKET_INTERACTIONS = 4_000_000


@dataclass(frozen=True)
class _Counts:
    """Interactions that got so far, and users whose last three hold equal times."""

    core: int = 0
    used: int = 0
    tied_users: int = 0


def prepare(
    log: pl.LazyFrame | Callable[[Path], Log],
    out: str | Path,
    *,
    min_count: int = 5,
    max_length: int = 50,
    duplicates: Duplicates = "keep",
    split: str = LEAVE_ONE_OUT,
    bucket_interactions: int = BUCKET_INTERACTIONS,
    tell: Tell = silent,
) -> DatasetMeta:
    """Prepare a log and write it to the new folder `out`.

    Args:
        log: a frame with columns user_id, item_id, time, order; or what reads one, given a scratch folder.
        out: a folder that does not exist or is empty.
        min_count: interactions, repeats included, that each user and item must have (to a fixed point); 0 or 1: no
            k-core.
        max_length: each user's last interactions that are kept, held-out ones included; at least 3.
        duplicates: which interactions of a user with an item stay: all; the first; the last; or of those that have the
            same time too (in a log without times, all of them), the first (exact).
        split: leave-one-out, time:DATE, time:SHARE or given.
        bucket_interactions: interactions sorted in memory at a time, and rows of a file; changes no content.
        tell: is told which step goes on.

    Raises:
        InputError: a setting out of range, an `out` that is taken, a log that is empty, has times only here and
            there, or of which the k-core leaves nothing; whatever reading the log raises.
    """
    _check_settings(min_count, max_length, duplicates)
    rule = split_rule(split)
    refuse_existing(out)
    with writing(out) as folder:
        scratch = folder / "scratch"
        scratch.mkdir()
        raw = scratch / "log.parquet"
        tell(Step("importing", facts=("reading the log",)))
        read = _counted(log, raw) if isinstance(log, pl.LazyFrame) else _written(log(scratch), raw)
        has_times = _has_times(raw)
        boundary = rule.boundary(read.frame, read.span)
        tell(Step("importing", facts=("sorting users into buckets",)))
        buckets = bucket_log(
            raw, scratch, bucket_interactions=bucket_interactions, duplicates=duplicates, label=rule.label(boundary)
        )
        raw.unlink()
        tell(Step("importing", facts=(f"{min_count}-core",)))
        users, items = _core(buckets, min_count)
        tell(Step("importing", facts=(f"writing {int(users.sum()):,} users",)))
        writer = DatasetWriter(
            folder,
            items=int(items.sum()),
            has_times=has_times,
            truncation=max_length,
            min_count=min_count,
            split=rule.named(boundary),
        )
        counts = _write_users(buckets, users, items, writer, rule=rule, max_length=max_length, has_times=has_times)
        writer.add_dropped(user_ids=buckets.user_ids.filter(~users), item_ids=buckets.item_ids.filter(~items))
        if read.skipped is not None:
            read.skipped.rename(folder / SKIPPED_FILE)
        shutil.rmtree(scratch)
        return writer.finish(
            user_ids=buckets.user_ids.filter(users),
            item_ids=buckets.item_ids.filter(items),
            log=_funnel(read, buckets, counts, writer.interactions()),
        )


def _check_settings(min_count: int, max_length: int, duplicates: Duplicates) -> None:
    if max(min_count, max_length) >= 2**31:
        raise InputError(f"min_count={min_count}, max_length={max_length}: both are counts below 2^31, give less")
    if min_count < 0:
        raise InputError(f"min_count={min_count} is negative: give 0 for no k-core, or the interactions to ask for")
    if max_length < MIN_TO_HOLD_OUT:
        raise InputError(f"max_length={max_length} leaves no room for training and two held-out items: give 3 or more")
    if duplicates not in get_args(Duplicates):
        raise InputError(f"duplicates={shown(duplicates)} is unknown: give one of {', '.join(get_args(Duplicates))}")


def _written(read: Log, raw: Path) -> Log:
    """Write a log's interactions to `raw`, and hand the log on with a frame over them."""
    given = [GIVEN] if GIVEN in read.frame.collect_schema() else []
    read.frame.select(USER_ID, ITEM_ID, TIME, ORDER, *given).sink_parquet(raw, compression="lz4", engine="streaming")
    return replace(read, frame=pl.scan_parquet(raw, glob=False))


def _counted(frame: pl.LazyFrame, raw: Path) -> Log:
    """A log that is a frame: all of it is good."""
    rows = pl.len().alias("rows")
    written = _written(Log(frame, 0, {}, 0, None, (), None), raw)
    return replace(written, read=int(written.frame.select(rows).collect(engine="streaming").item()))


def _has_times(raw: Path) -> bool:
    count = pl.scan_parquet(raw, glob=False).select(pl.len().alias("rows"), pl.col(TIME).count().alias("times"))
    rows, times = count.collect(engine="streaming").row(0)
    if not rows:
        raise InputError("the log holds no interaction: give one that is not empty")
    if times not in (0, rows):
        raise InputError(f"{rows - times} of {rows} interactions have no time: give all of them one, or none")
    return bool(times)


def _core(buckets: Buckets, min_count: int) -> tuple[Mask, Mask]:
    """Users and items of the k-core of what may train; without a k-core, all that have something to train on."""
    users, items = k_core(
        lambda: ((frame[USER_CODE].to_numpy(), frame[ITEM_CODE].to_numpy()) for frame in _training(buckets)),
        users=len(buckets.user_ids),
        items=len(buckets.item_ids),
        min_count=max(min_count, 1),
    )
    if not users.any():
        raise InputError(
            f"min_count={min_count}: no user and item of the log has {min_count} interactions among the others that "
            "have them (every user is below the k-core): lower --min-count, or 0 for none"
        )
    return users, items


def _training(buckets: Buckets) -> Iterator[pl.DataFrame]:
    return (frame.filter(pl.col(LABEL) == 0) for frame in buckets.frames())


def _write_users(
    buckets: Buckets,
    users: Mask,
    items: Mask,
    writer: DatasetWriter,
    *,
    rule: SplitRule,
    max_length: int,
    has_times: bool,
) -> _Counts:
    user_index, item_index = np.cumsum(users) - 1, np.cumsum(items)
    counts = _Counts()
    for frame in buckets.frames():
        in_core = users[frame[USER_CODE].to_numpy()] & items[frame[ITEM_CODE].to_numpy()]
        core = frame.filter(pl.Series(in_core))
        used = core if rule.kind == "leave-one-out" else _used(core, rule.held_per_label)
        counts = replace(counts, core=counts.core + len(core), used=counts.used + len(used))
        if not len(used):
            continue
        ids, lengths = np.unique(user_index[used[USER_CODE].to_numpy()], return_counts=True)
        whole = Sequences(ids, offsets_of(lengths), item_index[used[ITEM_CODE].to_numpy()].astype(np.int32))
        sequences, last = keep_last(whole, max_length)
        times: Float64Array | None = used[TIME].to_numpy()[last] if has_times else None
        writer.add(sequences, times, _held_out(used, rule))
        if times is not None:
            counts = replace(counts, tied_users=counts.tied_users + _tied(sequences, times))
    return counts


def _used(core: pl.DataFrame, per_label: int) -> pl.DataFrame:
    """What trains, and of what is held out the first of each user under each label, where both items are there."""
    place = pl.int_range(pl.len()).over(USER_CODE, LABEL)
    first = core.filter((pl.col(LABEL) == 0) | (place < per_label))
    held = (pl.col(LABEL) > 0).sum().over(USER_CODE)
    return first.filter((pl.col(LABEL) == 0) | (held == 2))


def _held_out(used: pl.DataFrame, rule: SplitRule) -> Mask | None:
    if rule.kind == "leave-one-out":
        return None
    by_user = used.group_by(USER_CODE, maintain_order=True).agg((pl.col(LABEL) > 0).any())
    return by_user[LABEL].to_numpy()


def _tied(sequences: Sequences, times: Float64Array) -> int:
    """Users with equal times among their last three interactions."""
    ends = sequences.offsets[1:][sequences.lengths >= MIN_TO_HOLD_OUT]
    return int(((times[ends - 1] == times[ends - 2]) | (times[ends - 2] == times[ends - 3])).sum())


def _funnel(read: Log, buckets: Buckets, counts: _Counts, kept: int) -> Funnel:
    good = read.read - read.filtered - sum(read.dropped.values())
    return Funnel(
        read=read.read,
        dropped=read.dropped,
        filtered=read.filtered,
        duplicates=buckets.duplicates,
        below_core=good - buckets.duplicates - counts.core,
        unused=counts.core - counts.used,
        cut=counts.used - kept,
        kept=kept,
        tied_users=counts.tied_users,
        times=None if read.span is None else read.span.shown(),
    )
