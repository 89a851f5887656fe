"""Random numbers keyed by identity, never by order.

A draw is a pure function of (seed, iteration, source sequence, trial, step, purpose): whoever computes it, in whatever
batch and after whatever restart, gets the same number. The mixer is the finaliser of splitmix64 (Steele, Lea and Flood,
OOPSLA 2014), applied to a running key. NumPy only, so that CPU and GPU runs share the draws.
"""

from enum import IntEnum

import numpy as np
import numpy.typing as npt

UInt64Array = npt.NDArray[np.uint64]
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_SHIFT_1, _SHIFT_2, _SHIFT_3 = np.uint64(30), np.uint64(27), np.uint64(31)


class Purpose(IntEnum):
    """What a draw is for; part of its key, so that two purposes never share a number."""

    START = 1
    POOL = 2
    ITEM = 3
    SHUFFLE = 4
    NEGATIVES = 5
    DROPOUT = 6
    INITIALISE = 7
    SYNTHESIZE = 8
    CLUSTER = 11
    PREPARE = 12
    AUXILIARY = 13
    MIX = 14
    EXPORT = 15
    AUGMENT = 16
    COIN = 17
    WINDOW = 18
    ORDER = 19
    PLACE = 20
    FILL = 21
    NOISE = 22
    VALIDATE = 23
    REPLACE = 24
    PROBE = 25


def mix64(values: UInt64Array) -> UInt64Array:
    """Scramble 64-bit values (any shape) so that each input bit flips each output bit with probability one half."""
    with np.errstate(over="ignore"):
        mixed = (values ^ (values >> _SHIFT_1)) * _MIX_1
        mixed = (mixed ^ (mixed >> _SHIFT_2)) * _MIX_2
    return mixed ^ (mixed >> _SHIFT_3)


def fold(*parts: npt.ArrayLike) -> UInt64Array:
    """Hash a tuple of integers, or of integer arrays that broadcast together, into one 64-bit value (an array)."""
    return fold_into(np.zeros(np.broadcast_shapes(*(np.shape(part) for part in parts)), dtype=np.uint64), *parts)


def fold_into(state: UInt64Array, *parts: npt.ArrayLike) -> UInt64Array:
    """Go on from the hash of a tuple's first parts: `fold_into(fold(a, b), c)` is `fold(a, b, c)`."""
    with np.errstate(over="ignore"):
        for part in parts:
            state = mix64((state + _GOLDEN) ^ np.asarray(part).astype(np.int64).view(np.uint64))
    return state


def uniforms(*parts: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Draw one number in [0, 1) for each row of the broadcast key `parts` (53 random bits)."""
    return uniforms_of(fold(*parts))


def uniforms_of(hashed: UInt64Array) -> npt.NDArray[np.float64]:
    """The numbers in [0, 1) that hashes of keys stand for: `uniforms_of(fold(a, b))` is `uniforms(a, b)`."""
    return (hashed >> np.uint64(11)).astype(np.float64) * 2.0**-53


def normals(*parts: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Draw one standard normal number for each row of the broadcast key `parts` (Box and Muller, 1958)."""
    hashed = fold(*parts)
    radius = np.sqrt(-2.0 * np.log1p(-uniforms_of(fold_into(hashed, 0))))
    return np.asarray(radius * np.cos(2.0 * np.pi * uniforms_of(fold_into(hashed, 1))))


def derive_seed(*parts: int) -> int:
    """Derive a seed in [0, 2^63) for a library's own generator (torch, NumPy) from an identity."""
    return int(fold(*parts)) >> 1


def generator(*parts: int) -> np.random.Generator:
    """A NumPy generator whose stream belongs to the identity `parts` alone."""
    return np.random.Generator(np.random.PCG64(derive_seed(*parts)))


def content_hashes(offsets: npt.NDArray[np.int64], items: npt.NDArray[np.int32]) -> npt.NDArray[np.bytes_]:
    """Hash the content of many sequences at once, 128 bits each; equal content gives equal hashes.

    Args:
        offsets: N + 1 positions into `items`, first 0, non-decreasing.
        items: item indices of all sequences, one after another.

    Returns:
        N values of dtype "V16" (raw bytes): two independent sums over position-keyed mixes of the items, finalised
        with the length. Integrity of files does not rest on it (that is SHA-256); duplicate detection does.
    """
    lengths = np.diff(offsets)
    positions = np.arange(len(items), dtype=np.int64) - np.repeat(offsets[:-1], lengths)
    halves = np.empty((len(lengths), 2), dtype=np.uint64)
    for half in range(2):
        terms = fold(half + 1, positions, items)
        sums = np.concatenate([np.zeros(1, dtype=np.uint64), np.cumsum(terms, dtype=np.uint64)])
        with np.errstate(over="ignore"):
            halves[:, half] = mix64(fold(half + 11, lengths) + sums[offsets[1:]] - sums[offsets[:-1]])
    return np.ascontiguousarray(halves.astype("<u8")).view("V16").reshape(-1)
