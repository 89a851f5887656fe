"""An interaction log → a prepared dataset: k-core, time order, truncation, leave-one-out.

Comes in: the lazy frame of `readers.read_log`. Goes out: the folder that `dataset.open_dataset` reads. Users and items
are numbered in the order in which they first appear in the file, without gaps for those that the k-core drops. The
catalogue is every item left after the k-core, also one that only held-out or truncated interactions have. Memory holds
the vocabularies and one bucket of users; the log itself streams through a scratch folder beside `out`.
"""

import shutil
from pathlib import Path

import numpy as np
import polars as pl

from rsir_scale.data.buckets import ITEM_CODE, USER_CODE, Buckets, bucket_log
from rsir_scale.data.dataset import DatasetMeta
from rsir_scale.data.kcore import Mask, k_core
from rsir_scale.data.schema import ITEM_ID, ORDER, TIME, USER_ID
from rsir_scale.data.sequences import Float64Array, Sequences, offsets_of
from rsir_scale.data.split import MIN_TO_HOLD_OUT, keep_last
from rsir_scale.data.writer import DatasetWriter, refuse_existing, writing
from rsir_scale.errors import InputError
from rsir_scale.steps import Step, Tell, silent

BUCKET_INTERACTIONS = 4_000_000


def prepare(
    log: pl.LazyFrame,
    out: str | Path,
    *,
    min_count: int = 5,
    max_length: int = 50,
    drop_duplicates: bool = False,
    bucket_interactions: int = BUCKET_INTERACTIONS,
    tell: Tell = silent,
) -> DatasetMeta:
    """Prepare a log and write it to the new folder `out`.

    Args:
        log: columns user_id, item_id, time, order, as `read_log` gives them.
        out: a folder that does not exist or is empty.
        min_count: interactions, repeats included, that each user and item must have (to a fixed point); 0 or 1: no
            k-core.
        max_length: each user's last interactions that are kept, held-out ones included; at least 3.
        drop_duplicates: keep one of interactions with the same user, item and time (in a log without times: with the
            same user and item).
        bucket_interactions: interactions sorted in memory at a time, and rows of a file; changes no content.
        tell: is told which step goes on.

    Raises:
        InputError: a setting out of range, an `out` that is taken, a log that is empty, has times only here and
            there, or of which the k-core leaves nothing.
    """
    _check_settings(min_count, max_length)
    refuse_existing(out)
    with writing(out) as folder:
        scratch = folder / "scratch"
        scratch.mkdir()
        raw = scratch / "log.parquet"
        tell(Step("importing", facts=("reading the log",)))
        log.select(USER_ID, ITEM_ID, TIME, ORDER).sink_parquet(raw, compression="lz4", engine="streaming")
        has_times = _has_times(raw)
        tell(Step("importing", facts=("sorting users into buckets",)))
        buckets = bucket_log(raw, scratch, bucket_interactions=bucket_interactions, drop_duplicates=drop_duplicates)
        raw.unlink()
        tell(Step("importing", facts=(f"{min_count}-core",)))
        users, items = _core(buckets, min_count)
        tell(Step("importing", facts=(f"writing {int(users.sum()):,} users",)))
        writer = DatasetWriter(
            folder, items=int(items.sum()), has_times=has_times, truncation=max_length, min_count=min_count
        )
        _write_users(buckets, users, items, writer, max_length=max_length, has_times=has_times)
        shutil.rmtree(scratch)
        return writer.finish(user_ids=buckets.user_ids.filter(users), item_ids=buckets.item_ids.filter(items))


def _check_settings(min_count: int, max_length: int) -> None:
    if max(min_count, max_length) >= 2**31:
        raise InputError(f"min_count={min_count}, max_length={max_length}: both are counts below 2^31, give less")
    if min_count < 0:
        raise InputError(f"min_count={min_count} is negative: give 0 for no k-core, or the interactions to ask for")
    if max_length < MIN_TO_HOLD_OUT:
        raise InputError(f"max_length={max_length} leaves no room for training and two held-out items: give 3 or more")


def _has_times(raw: Path) -> bool:
    count = pl.scan_parquet(raw, glob=False).select(pl.len().alias("rows"), pl.col(TIME).count().alias("times"))
    rows, times = count.collect(engine="streaming").row(0)
    if not rows:
        raise InputError("the log holds no interaction: give one that is not empty")
    if times not in (0, rows):
        raise InputError(f"{rows - times} of {rows} interactions have no time: give all of them one, or none")
    return bool(times)


def _core(buckets: Buckets, min_count: int) -> tuple[Mask, Mask]:
    users, items = k_core(
        lambda: ((frame[USER_CODE].to_numpy(), frame[ITEM_CODE].to_numpy()) for frame in buckets.frames()),
        users=len(buckets.user_ids),
        items=len(buckets.item_ids),
        min_count=min_count,
    )
    if not users.any():
        raise InputError(
            f"min_count={min_count}: no user and item of the log has {min_count} interactions among the others that "
            "have them (every user is below the k-core): lower --min-count, or 0 for none"
        )
    return users, items


def _write_users(
    buckets: Buckets, users: Mask, items: Mask, writer: DatasetWriter, *, max_length: int, has_times: bool
) -> None:
    user_index, item_index = np.cumsum(users) - 1, np.cumsum(items)
    for frame in buckets.frames():
        user_codes, item_codes = frame[USER_CODE].to_numpy(), frame[ITEM_CODE].to_numpy()
        kept = users[user_codes] & items[item_codes]
        ids, counts = np.unique(user_index[user_codes[kept]], return_counts=True)
        if not len(ids):
            continue
        whole = Sequences(ids, offsets_of(counts), item_index[item_codes[kept]].astype(np.int32))
        sequences, last = keep_last(whole, max_length)
        times: Float64Array | None = frame[TIME].to_numpy()[kept][last] if has_times else None
        writer.add(sequences, times)
