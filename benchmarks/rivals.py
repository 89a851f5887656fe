"""The plain ways to check fidelity against which ours are measured: whole scans in single precision.

Each is built on an item table and then answers, for queries `[B, D]` and targets `[B]` (the best own item's score),
which rows have fewer than tau items that score higher. Targets come with a tolerance: no item out-ranks itself.
"""

import contextlib
import importlib
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

BoolArray = npt.NDArray[np.bool_]
Rival = Callable[[Tensor, Tensor, int], BoolArray]
BLOCKS = 256, 512, 1024, 2048, 4096, 16_384, 65_536  # items scored at once: the fastest is kept
TRIED_ON = 65_536  # items
FLATS = {"faiss-flat": False, "faiss-flat-tuned": True}  # whether tuned


def rivals(
    items_VD: Tensor, query_BD: Tensor, target_B: Tensor, tau: int, skipped: tuple[str, ...] = ()
) -> Iterator[tuple[str, float, Rival]]:
    """Yield name, seconds to build, and the check; block sizes are chosen on all of the case's queries.

    Fewer queries would choose larger blocks, whose scores no longer stay in the cache once all of them ask.
    """
    on_cpu = items_VD.device.type == "cpu"
    ways = {"torch-scan": torch_scan} | ({"numpy-scan": numpy_scan} if on_cpu else {})
    for name, way in ways.items():
        if name.startswith(skipped):
            continue
        tried_ND = items_VD[1 : 1 + TRIED_ON]
        seconds = {block: _seconds(partial(way, tried_ND, block, query_BD, target_B, tau)) for block in BLOCKS}
        yield name, 0.0, partial(way, items_VD[1:], min(BLOCKS, key=seconds.__getitem__))
    flats = {name: tuned for name, tuned in FLATS.items() if not name.startswith(skipped)}
    if not on_cpu or not flats or (faiss := _faiss()) is None:
        return
    started = time.perf_counter()
    index = faiss.IndexFlatIP(items_VD.shape[1])
    index.add(items_VD[1:].contiguous().numpy())
    build_s = time.perf_counter() - started
    for name, tuned in flats.items():
        yield name, build_s, partial(flat, index, faiss, tuned)


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


def flat(index: Any, faiss: Any, tuned: bool, query_BD: Tensor, target_B: Tensor, tau: int) -> BoolArray:
    """FAISS's exhaustive index: the tau-th best score must not be above the target."""
    shipped = faiss.cvar.distance_compute_blas_threshold
    with contextlib.ExitStack() as restored:
        if tuned:
            restored.callback(setattr, faiss.cvar, "distance_compute_blas_threshold", shipped)
            faiss.cvar.distance_compute_blas_threshold = 20
        score_BK, _ = index.search(query_BD.numpy(), tau)
    return score_BK[:, -1] <= target_B.numpy()


def _seconds(call: Callable[[], object]) -> float:
    call()
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def _faiss() -> Any:
    try:
        return importlib.import_module("faiss")
    except ImportError:
        print("note: FAISS is not installed, so its exhaustive index is not among the rivals")
        return None
