"""A prepared dataset → the same with noise: about a share of its training interactions become random items.

Comes in: a dataset. Goes out: another one, with the same users, items, times, lengths and held-out items; its
`dataset.json` names where it came from. Whether an interaction is replaced, and by what, depends on the seed, the user
and the position alone. What takes its place is drawn evenly from the catalogue without the user's own items: it is
noise for certain, no repeat, and never the answer that is held out. The paper (App. F) *inserts* random items; to
replace keeps lengths and pairs, so that what differs between two shares is noise and not amount.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from rsir_scale.data.dataset import DatasetMeta, HeldOut, Noise, PreparedDataset
from rsir_scale.data.sequences import Float64Array, Int64Array, Sequences
from rsir_scale.data.split import LEAVE_ONE_OUT, put_back
from rsir_scale.data.writer import DatasetWriter, refuse_existing, writing
from rsir_scale.errors import InputError
from rsir_scale.randomness import Purpose, uniforms

_COIN, _ITEM = 0, 1


def add_noise(dataset: PreparedDataset, out: str | Path, *, share: float, seed: int) -> DatasetMeta:
    """Write a dataset with noise to the new folder `out`.

    Args:
        dataset: what to start from.
        out: a folder that does not exist or is empty.
        share: probability that a training interaction is replaced, 0..1.
        seed: 0 to 2^63 - 1; with a greater share, what a smaller one replaces is replaced, too.

    Raises:
        InputError: a figure out of range, an `out` that is taken, or a catalogue too small to draw from.
    """
    if not 0.0 <= share <= 1.0:
        raise InputError(f"share={share} is not in 0..1: give a share of the training interactions")
    if not 0 <= seed < 2**63:
        raise InputError(f"seed={seed} is not in 0..{2**63 - 1}: give a number in that range")
    refuse_existing(out)
    training, held_out = dataset.training_sequences(), dataset.held_out()
    noisy = with_noise(training, held_out, share=share, seed=seed, item_count=dataset.meta.items)
    noise = Noise(
        of=dataset.meta.fingerprint, share=share, seed=seed, replaced=int((noisy.items != training.items).sum())
    )
    meta = dataset.meta
    with writing(out) as folder:
        writer = DatasetWriter(
            folder,
            items=meta.items,
            has_times=meta.has_times,
            truncation=meta.truncation,
            min_count=meta.min_count,
            split=meta.split,
        )
        held = None if meta.split == LEAVE_ONE_OUT else held_out.test > 0
        whole = put_back(noisy, held_out.validation, held_out.test)
        times = _whole_times(dataset, training, held_out) if meta.has_times else None
        ends = np.cumsum([file.rows for file in dataset.training_files()])
        for first, stop in zip([0, *ends[:-1]], ends, strict=True):
            among = slice(int(whole.offsets[first]), int(whole.offsets[stop]))
            own_times = None if times is None else times[among]
            writer.add(whole.select(np.arange(first, stop)), own_times, None if held is None else held[first:stop])
        user_ids, item_ids = (pl.Series(ids, dtype=pl.String) for ids in (dataset.user_ids(), dataset.item_ids()))
        return writer.finish(user_ids=user_ids, item_ids=item_ids, noise=noise)


def with_noise(training: Sequences, held_out: HeldOut, *, share: float, seed: int, item_count: int) -> Sequences:
    """Return training sequences of which about a share of the items are random ones.

    Raises:
        InputError: a user would need more other items than the catalogue has.
    """
    user = np.repeat(np.arange(len(training)), training.lengths)
    position = np.arange(len(training.items)) - training.offsets[:-1][user]
    place = np.flatnonzero(uniforms(seed, training.ids[user], position, Purpose.REPLACE, _COIN) < share)
    own = put_back(training, held_out.validation, held_out.test)
    base = item_count + 1
    taken = np.unique(np.repeat(np.arange(len(own)), own.lengths) * base + own.items)
    _require_room(taken // base, user[place], item_count)
    items = training.items.copy()
    attempt = 0
    while len(place):
        draw = uniforms(seed, training.ids[user[place]], position[place], Purpose.REPLACE, _ITEM, attempt)
        item = (draw * item_count).astype(np.int64) + 1
        key = user[place] * base + item
        fresh = _first_of_each(key) & ~np.isin(key, taken)
        items[place[fresh]] = item[fresh]
        taken = np.union1d(taken, key[fresh])
        place, attempt = place[~fresh], attempt + 1
    return Sequences(training.ids, training.offsets, items)


def _whole_times(dataset: PreparedDataset, training: Sequences, held_out: HeldOut) -> Float64Array:
    has_both = held_out.test > 0
    added = np.stack(dataset.held_out_times(), axis=1)[has_both].ravel()
    return np.insert(dataset.training_times(), np.repeat(training.offsets[1:][has_both], 2), added)


def _first_of_each(key: Int64Array) -> npt.NDArray[np.bool_]:
    first = np.zeros(len(key), dtype=np.bool_)
    first[np.unique(key, return_index=True)[1]] = True
    return first


def _require_room(known: Int64Array, replaced: Int64Array, item_count: int) -> None:
    """Raise InputError where a user has fewer unknown items than interactions to replace."""
    if not len(replaced):
        return
    users = int(max(known.max(initial=0), replaced.max())) + 1
    needed = np.bincount(replaced, minlength=users)
    short = np.flatnonzero((needed > 0) & (np.bincount(known, minlength=users) + needed > item_count))
    if len(short):
        raise InputError(
            f"{needed[short[0]]} interactions of user_index {short[0]} are to be replaced, and of {item_count} items "
            "too few are not the user's own: give a smaller --share, or a larger dataset"
        )
