"""A seeded market with planted preferences, as a prepared dataset of any size: to measure with, and to learn from.

Items live in clusters of 40; clusters, and items within one, are popular by Zipf's law. A user has three home
clusters. Each step follows, mostly, one of the three planted successors of the item before it, else draws from a home
cluster, else from the whole market; no user sees an item twice. So the next item is predictable from the last one, and
far better than from popularity. Each draw is keyed by (seed, user, step), so that the shard size changes nothing;
memory holds one shard and the vocabularies. There is no k-core: the catalogue has exactly the items asked for, seen or
not.
"""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from rsir_scale.data.dataset import DatasetMeta
from rsir_scale.data.sequences import Float64Array, Int64Array, Sequences, offsets_of
from rsir_scale.data.writer import DatasetWriter, writing
from rsir_scale.errors import InputError
from rsir_scale.randomness import Purpose, derive_seed, uniforms

SHARD_USERS = 32_768
MIN_LENGTH, MAX_LENGTH = 5, 50
_CLUSTER = 40
_FOLLOW, _HOME = 0.65, 0.30  # the rest is drawn from the whole market
_SUCCESSOR_SHARES = np.array([0.6, 0.9])  # cumulative, of the three successors and of the three homes
_EXTRA_LENGTH = 8.0  # mean items beyond the shortest sequence


def synthesize(*, users: int, items: int, out: str | Path, seed: int, shard_users: int = SHARD_USERS) -> DatasetMeta:
    """Write a planted market to the new folder `out`.

    Args:
        users: sequences to write, 1 to 2^31 - 1; of 5 to 50 items (13 on average).
        items: the catalogue, 5 to 2^31 - 1.
        out: a folder that does not exist or is empty.
        seed: 0 to 2^63 - 1; the same seed gives the same market, whatever `shard_users`.
        shard_users: users in memory at a time, and rows of a file.

    Raises:
        InputError: a figure out of range, or an `out` that is taken.
    """
    _check("users", users, 1, 2**31 - 1)
    _check("items", items, MIN_LENGTH, 2**31 - 1)
    _check("seed", seed, 0, 2**63 - 1)
    _check("shard_users", shard_users, 1, 2**24)
    with writing(out) as folder:
        writer = DatasetWriter(folder, items=items, has_times=False, truncation=MAX_LENGTH, min_count=0)
        for shard in _shards(users, items, seed, shard_users):
            writer.add(shard, None)
        return writer.finish(user_ids=_numbers(users), item_ids=_numbers(items))


def _shards(users: int, items: int, seed: int, shard_users: int) -> Iterator[Sequences]:
    market = Market(items, seed)
    for first in range(0, users, shard_users):
        yield market.sequences(np.arange(first, min(first + shard_users, users), dtype=np.int64))


class Market:
    """The planted structure over slots 0..V-1, cluster after cluster; `_item` scatters slots over item indices.

    Args:
        items: V.
        seed: of the market.
    """

    def __init__(self, items: int, seed: int) -> None:
        self._items = items
        self._seed = seed
        self._clusters = -(-items // _CLUSTER)
        self._factor = _coprime(items, derive_seed(seed, Purpose.SYNTHESIZE, -1))

    def sequences(self, users: Int64Array) -> Sequences:
        """The sequences of some users, whoever else is computed with them."""
        lengths = self._lengths(users)
        slots_BL = np.full((len(users), int(lengths.max())), -1, dtype=np.int64)
        for step in range(slots_BL.shape[1]):
            rows = np.flatnonzero(lengths > step)
            past_BL = slots_BL[rows, :step]
            slots_BL[rows, step] = self._unseen(self._next(users[rows], past_BL, step), past_BL)
        chosen = slots_BL[slots_BL >= 0]
        return Sequences(users, offsets_of(lengths), self._item(chosen))

    def prefers(self, users: Int64Array, before: Int64Array, items: Int64Array) -> npt.NDArray[np.bool_]:
        """Whether the planted preferences could have chosen each item: a successor of the one before, or of a home.

        What is drawn from the whole market they call noise. So they do an item that stands in for one already seen,
        where it lies outside the user's homes.

        Args:
            users: int64[N].
            before: int64[N], the item before each, 1..V; 0 is none.
            items: int64[N], 1..V.
        """
        slots, last = self._slot(items), self._slot(np.maximum(before, 1))
        found = np.zeros(len(slots), dtype=np.bool_)
        for choice in range(len(_SUCCESSOR_SHARES) + 1):
            home = _zipf(self._clusters, self._draw(users, -2, choice)) * _CLUSTER
            found |= (slots - home) % self._items < _CLUSTER
            found |= (before > 0) & (slots == self._successor(last, choice) % self._items)
        return found

    def _lengths(self, users: Int64Array) -> Int64Array:
        extra = np.floor(-np.log1p(-self._draw(users, -1, 0)) * _EXTRA_LENGTH).astype(np.int64)
        return np.minimum(MIN_LENGTH + extra, min(MAX_LENGTH, self._items))

    def _next(self, users: Int64Array, past_BL: Int64Array, step: int) -> Int64Array:
        kind, which, where = (self._draw(users, step, draw) for draw in (0, 1, 2))
        choice = np.searchsorted(_SUCCESSOR_SHARES, which, side="right")
        home = _zipf(self._clusters, self._draw(users, -2, choice))
        anywhere = _zipf(self._clusters, self._draw(users, step, 3))
        drawn = np.where(kind < _FOLLOW + _HOME, home, anywhere) * _CLUSTER + _zipf(_CLUSTER, where)
        if step:
            drawn = np.where(kind < _FOLLOW, self._successor(past_BL[:, -1], choice), drawn)
        return drawn % self._items

    def _successor(self, slots: Int64Array, choice: npt.ArrayLike) -> Int64Array:
        rank = _zipf(_CLUSTER, uniforms(self._seed, Purpose.SYNTHESIZE, -3, slots, choice))
        return slots // _CLUSTER * _CLUSTER + rank

    def _unseen(self, slots: Int64Array, past_BL: Int64Array) -> Int64Array:
        fresh = slots.copy()
        # Ends: a sequence is no longer than the catalogue, so some slot of the ring is free.
        while (seen := (past_BL == fresh[:, None]).any(axis=1)).any():
            fresh[seen] = (fresh[seen] + 1) % self._items
        return fresh

    def _item(self, slots: Int64Array) -> npt.NDArray[np.int32]:
        return ((slots * self._factor) % self._items + 1).astype(np.int32)

    def _slot(self, items: Int64Array) -> Int64Array:
        return ((items.astype(np.int64) - 1) * pow(self._factor, -1, self._items)) % self._items

    def _draw(self, users: Int64Array, step: int, draw: npt.ArrayLike) -> Float64Array:
        return uniforms(self._seed, Purpose.SYNTHESIZE, users, step, draw)


def _zipf(count: int, draws: Float64Array) -> Int64Array:
    """Ranks 0..count-1, rank r of probability log((r + 2) / (r + 1)) / log(count + 1): near 1 / r, without a table."""
    return np.minimum(np.floor((count + 1.0) ** draws).astype(np.int64) - 1, count - 1)


def _coprime(items: int, start: int) -> int:
    factor = start % items
    while math.gcd(factor, items) != 1:
        factor += 1
    return factor


def _numbers(count: int) -> pl.Series:
    return pl.int_range(1, count + 1, eager=True).cast(pl.String)


def _check(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise InputError(f"{name}={value} is not in {low}..{high}: give a number in that range")
