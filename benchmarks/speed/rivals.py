"""The plain ways to check fidelity against which ours are measured: whole scans in single precision.

Each is built on an item table and then answers, for queries `[B, D]` and targets `[B]` (the best own item's score),
which rows have fewer than tau items that score higher. Targets come with a tolerance: no item out-ranks itself.
"""

import contextlib
import importlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

BoolArray = npt.NDArray[np.bool_]
Check = Callable[[Tensor, Tensor, int], BoolArray]
Settings = dict[str, int]
Setting = TypeVar("Setting")
TRIED_ON = 65_536  # items
TRIES = 3
FLATS = "faiss-flat", "faiss-flat-tuned"
BLOCKS = 256, 512, 1024, 2048, 4096, 16_384, 65_536  # items scored at once: the fastest is kept
# Of FAISS: from how many queries on it multiplies by BLAS (as shipped never up to 128,000 of few numbers), and how many
# queries and items a product takes.
THRESHOLD, QUERIES, ITEMS = (f"distance_compute_blas_{what}" for what in ("threshold", "query_bs", "database_bs"))
FLAT_SETTINGS: tuple[Settings, ...] = tuple(
    {THRESHOLD: 20, QUERIES: queries, ITEMS: items}
    for queries, items in product((64, 128, 256, 512, 1024, 4096), (256, 512, 1024, 2048))
)


@dataclass(frozen=True)
class Rival:
    """One of them, built.

    Attributes:
        name: the implementation.
        facts: `build_s`, and `settings` where they were tuned.
        check: answers which rows pass.
    """

    name: str
    facts: dict[str, object]
    check: Check


def rivals(
    items_VD: Tensor, query_BD: Tensor, target_B: Tensor, tau: int, skipped: tuple[str, ...] = ()
) -> Iterator[Rival]:
    """Yield those that are not skipped; tuned ones have their settings chosen on all of the case's queries.

    Fewer queries would choose larger blocks, whose scores no longer stay in the cache once all of them ask.
    """
    asked, on_cpu = (query_BD, target_B, tau), items_VD.device.type == "cpu"
    ways = {"torch-scan": torch_scan} | ({"numpy-scan": numpy_scan} if on_cpu else {})
    for name, way in ways.items():
        if not left_out(name, skipped):
            block = _fastest(BLOCKS, partial(way, items_VD[1 : 1 + TRIED_ON]), asked)
            yield Rival(name, {"build_s": 0.0, "settings": {"block": block}}, partial(way, items_VD[1:], block))
    if on_cpu and not all(left_out(name, skipped) for name in FLATS):
        yield from _flats(items_VD, asked, skipped)


def left_out(name: str, skipped: tuple[str, ...]) -> bool:
    """Whether a name, or what stands before its slash, is among those to be skipped."""
    return name in skipped or name.partition("/")[0] in skipped


def _flats(items_VD: Tensor, asked: tuple[Tensor, Tensor, int], skipped: tuple[str, ...]) -> Iterator[Rival]:
    if (faiss := _faiss()) is None:
        return
    started = time.perf_counter()
    index = _filled(faiss, items_VD[1:])
    build_s = round(time.perf_counter() - started, 3)
    if not left_out(FLATS[0], skipped):
        yield Rival(FLATS[0], {"build_s": build_s}, partial(flat, index, faiss, {}))
    if not left_out(FLATS[1], skipped):
        settings = _fastest(FLAT_SETTINGS, partial(flat, _filled(faiss, items_VD[1 : 1 + TRIED_ON]), faiss), asked)
        facts = {"build_s": build_s, "settings": settings}
        yield Rival(FLATS[1], facts, partial(flat, index, faiss, settings))


def _filled(faiss: Any, items_VD: Tensor) -> Any:
    index = faiss.IndexFlatIP(items_VD.shape[1])
    index.add(items_VD.contiguous().numpy())
    return index


def numpy_scan(items_VD: Tensor, block: int, query_BD: Tensor, target_B: Tensor, tau: int) -> BoolArray:
    """Multiply and count, block by block."""
    items, query, target = items_VD.numpy(), query_BD.numpy(), target_B.numpy()[:, None]
    better_B = np.zeros(len(query), dtype=np.int64)
    scores = np.empty(len(query) * block, dtype=np.float32)  # one piece of memory, so that it stays in the cache
    higher = np.empty(len(query) * block, dtype=np.bool_)
    for begin in range(0, len(items), block):
        items_ND = items[begin : begin + block]
        shape = len(query), len(items_ND)
        scores_BN, higher_BN = (kept[: shape[0] * shape[1]].reshape(shape) for kept in (scores, higher))
        np.matmul(query, items_ND.T, out=scores_BN)
        np.greater(scores_BN, target, out=higher_BN)
        better_B += np.count_nonzero(higher_BN, axis=1)
    return better_B < tau


def torch_scan(items_VD: Tensor, block: int, query_BD: Tensor, target_B: Tensor, tau: int) -> BoolArray:
    """The same in torch, on any device."""
    better_B = torch.zeros(len(query_BD), dtype=torch.int64, device=query_BD.device)
    scores = torch.empty(len(query_BD) * block, device=query_BD.device)
    higher = torch.empty(len(query_BD) * block, dtype=torch.bool, device=query_BD.device)
    for begin in range(0, len(items_VD), block):
        items_ND = items_VD[begin : begin + block]
        shape = len(query_BD), len(items_ND)
        scores_BN, higher_BN = (kept[: shape[0] * shape[1]].view(shape) for kept in (scores, higher))
        torch.mm(query_BD, items_ND.T, out=scores_BN)
        torch.gt(scores_BN, target_B[:, None], out=higher_BN)
        better_B += higher_BN.count_nonzero(1)
    return (better_B < tau).cpu().numpy()


def flat(index: Any, faiss: Any, settings: Settings, query_BD: Tensor, target_B: Tensor, tau: int) -> BoolArray:
    """FAISS's exhaustive index: the tau-th best score must not be above the target."""
    with contextlib.ExitStack() as restored:
        for name, value in settings.items():
            restored.callback(setattr, faiss.cvar, name, getattr(faiss.cvar, name))
            setattr(faiss.cvar, name, value)
        score_BK, _ = index.search(query_BD.numpy(), tau)
    passed_B: BoolArray = score_BK[:, -1] <= target_B.numpy()
    return passed_B


def _fastest(choices: Sequence[Setting], way: Callable[..., object], asked: tuple[Tensor, Tensor, int]) -> Setting:
    """The setting that took the least time, of several tries each: one slow try must not choose."""
    seconds = [min(_seconds(partial(way, choice, *asked)) for _ in range(TRIES)) for choice in choices]
    return choices[seconds.index(min(seconds))]


def _seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def _faiss() -> Any:
    try:
        return importlib.import_module("faiss")
    except ImportError:
        print("note: FAISS is not installed, so its exhaustive index is not among the rivals")
        return None
