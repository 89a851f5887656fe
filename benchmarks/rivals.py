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
BLOCKS = 1024, 4096, 16_384, 65_536  # items scored at once: the fastest is kept


def rivals(items_VD: Tensor, query_BD: Tensor, target_B: Tensor, tau: int) -> Iterator[tuple[str, float, Rival]]:
    """Yield name, seconds to build, and the check; block sizes are chosen on the case's own queries."""
    on_cpu = items_VD.device.type == "cpu"
    ways = {"torch-scan": torch_scan} | ({"numpy-scan": numpy_scan} if on_cpu else {})
    for name, way in ways.items():
        started = time.perf_counter()
        tried = [partial(way, items_VD[1:].contiguous(), block) for block in BLOCKS if block <= 4 * len(items_VD)]
        few = slice(0, 256)
        fastest = min(tried, key=lambda check: _seconds(partial(check, query_BD[few], target_B[few], tau)))
        yield name, time.perf_counter() - started, fastest
    if not on_cpu or (faiss := _faiss()) is None:
        return
    started = time.perf_counter()
    index = faiss.IndexFlatIP(items_VD.shape[1])
    index.add(items_VD[1:].contiguous().numpy())
    build_s = time.perf_counter() - started
    yield "faiss-flat", build_s, partial(flat, index, faiss, False)
    yield "faiss-flat-tuned", build_s, partial(flat, index, faiss, True)


def numpy_scan(items_VD: Tensor, block: int, query_BD: Tensor, target_B: Tensor, tau: int) -> BoolArray:
    """Multiply and count, block by block."""
    items, query, target = items_VD.numpy(), query_BD.numpy(), target_B.numpy()[:, None]
    better_B = np.zeros(len(query), dtype=np.int64)
    for begin in range(0, len(items), block):
        better_B += np.count_nonzero(query @ items[begin : begin + block].T > target, axis=1)
    return better_B < tau


def torch_scan(items_VD: Tensor, block: int, query_BD: Tensor, target_B: Tensor, tau: int) -> BoolArray:
    """The same in torch, on any device."""
    better_B = torch.zeros(len(query_BD), dtype=torch.int64, device=query_BD.device)
    for begin in range(0, len(items_VD), block):
        better_B += (query_BD @ items_VD[begin : begin + block].T > target_B[:, None]).count_nonzero(1)
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
