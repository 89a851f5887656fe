"""The exact search on the CPU, compiled: one call scans a packed table, certifies, scores exactly and orders.

`kernel/` holds the code; it is built with the package where a C++ compiler is found, and this module says whether it
was. The processor's best instructions are found at run time: AMX with bfloat16, AVX-512 with products of bytes or of
bfloat16, AVX-512, AVX2, or none.
Answers are those of `ExactSearch` to the last bit, whatever the instructions: both decide by `ranking.score`.

Shapes: B rows, R own items, L context positions, P candidates, D width, V items.
"""

import ctypes

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rsir_scale.errors import ConfigError
from rsir_scale.extension import Kernel
from rsir_scale.ranking.base import RankQuery, SearchQuery, SearchResult, not_finite_query, require_finite_items

_NOT_FINITE = 2  # as rsir_search in kernel/search.h says


class _Question(ctypes.Structure):
    """Mirrors `RsirQuestion` of kernel/search.h."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("rows", "own_width", "banned_width", "probe_width")),
        *((name, ctypes.c_void_p) for name in ("query", "own", "vouching", "checked", "explore")),
        *((name, ctypes.c_void_p) for name in ("banned", "probes")),
        *((name, ctypes.c_int64) for name in ("rank_threshold", "top_candidates", "ranks_voucher")),
    ]


_WRITTEN = ("own_score", "passed", "voucher", "better", "candidate", "candidate_score")


class _Answer(ctypes.Structure):
    """Mirrors `RsirAnswer` of kernel/search.h."""

    _fields_ = [(name, ctypes.c_void_p) for name in _WRITTEN]


_KERNEL = Kernel(
    "rsir_scale.ranking._scan",
    title="search",
    instead="the plain search",
    nth_name="rsir_instructions",
    functions={
        "rsir_table_new": (
            ctypes.c_void_p,
            (
                ctypes.c_void_p,
                ctypes.c_int64,
                ctypes.c_int32,
                ctypes.c_void_p,
                ctypes.c_void_p,
                ctypes.c_int64,
                ctypes.c_char_p,
            ),
        ),
        "rsir_table_free": (None, (ctypes.c_void_p,)),
        "rsir_search": (ctypes.c_int32, (ctypes.c_void_p, ctypes.POINTER(_Question), ctypes.POINTER(_Answer))),
    },
)
instructions, takes = _KERNEL.instructions, _KERNEL.takes


class PackedTable:
    """An item table packed for the kernel, in lists that are scanned one after another.

    Args:
        items_VD: float32 `[V + 1, D]` on the CPU; row 0 is padding. It is kept, not copied, if it is contiguous.
        order: int32, item indices, list after list.
        list_begin: int64, where each list begins in `order`, and the end of the last.
        using: one of `instructions()`; None for the best.

    Raises:
        ConfigError: the kernel was not built, or lacks the instructions.
        IntegrityError: a vector is not finite.
    """

    def __init__(
        self,
        items_VD: Tensor,
        order: npt.NDArray[np.int32],
        list_begin: npt.NDArray[np.int64],
        *,
        using: str | None = None,
    ) -> None:
        self._library, self.name = _KERNEL.open(using)
        if not takes(items_VD):
            raise ConfigError(f"the compiled search takes float32 on a CPU, not {items_VD.dtype} on {items_VD.device}")
        require_finite_items(items_VD)
        self._items_VD = items_VD.detach().contiguous()
        self.item_count = len(items_VD) - 1
        order, list_begin = np.ascontiguousarray(order, np.int32), np.ascontiguousarray(list_begin, np.int64)
        self._handle = self._library.rsir_table_new(
            self._items_VD.data_ptr(),
            self.item_count,
            self._items_VD.shape[1],
            order.ctypes.data,
            list_begin.ctypes.data,
            len(list_begin) - 1,
            self.name.encode(),
        )
        if not self._handle:
            raise MemoryError(f"no memory to pack a table of {self.item_count} items")

    def __del__(self) -> None:
        """Free the packed table."""
        if getattr(self, "_handle", None):
            self._library.rsir_table_free(self._handle)

    def search(
        self, query: SearchQuery, probes_BN: Tensor | None, *, rank_threshold: int, top_candidates: int
    ) -> SearchResult:
        """Answer one step's question from the probed lists, int32 `[B, N]`, or from all of them."""
        return self._answer(query, probes_BN, rank_threshold, top_candidates, ranks_voucher=False)

    def ranks(self, query: RankQuery, *, cap: int) -> Tensor:
        """Rank among the items of all lists; see `ExactItemSearch`."""
        return 1 + self._answer(query.as_search(), None, cap, 0, ranks_voucher=True).better_B

    def _answer(
        self,
        query: SearchQuery,
        probes_BN: Tensor | None,
        rank_threshold: int,
        top_candidates: int,
        *,
        ranks_voucher: bool,
    ) -> SearchResult:
        top = min(top_candidates, self.item_count)
        rows, own = query.own_BR.shape
        given = {name: column.contiguous() for name, column in _columns(query).items()}
        if probes_BN is not None:
            given["probes"] = probes_BN.to(torch.int32).contiguous()
        result = SearchResult(
            own_score_BR=torch.empty((rows, own), dtype=torch.float64),
            passed_B=torch.empty(rows, dtype=torch.bool),
            voucher_B=torch.empty(rows, dtype=torch.int64),
            better_B=torch.empty(rows, dtype=torch.int64),
            candidate_BP=torch.empty((rows, top), dtype=torch.int64),
            candidate_score_BP=torch.empty((rows, top), dtype=torch.float64),
            seen_B=torch.full((rows,), self.item_count),
        )
        question = _Question(
            rows=rows,
            own_width=own,
            banned_width=query.banned_BL.shape[1],
            probe_width=0 if probes_BN is None else probes_BN.shape[1],
            rank_threshold=rank_threshold,
            top_candidates=top,
            ranks_voucher=ranks_voucher,
            **{name: column.data_ptr() for name, column in given.items()},
        )
        written = _columns(result)
        answer = _Answer(**{name: written[name].data_ptr() for name in _WRITTEN})
        failure = self._library.rsir_search(self._handle, question, answer)
        if failure == _NOT_FINITE:
            raise not_finite_query()
        if failure:
            raise MemoryError(f"no memory to search {rows} rows")
        return result


class CompiledSearch:
    """Scan of a whole item table by the kernel, items by falling norm; see `ExactItemSearch` and `PackedTable`."""

    def __init__(self, items_VD: Tensor, *, using: str | None = None) -> None:
        norm_V = items_VD.detach()[1:].norm(dim=1)
        order_V = 1 + norm_V.argsort(descending=True, stable=True).to(torch.int32)
        self._table = PackedTable(items_VD, order_V.numpy(), np.array([0, len(order_V)]), using=using)
        self.name = f"exact/{self._table.name}"

    def search(self, query: SearchQuery, *, rank_threshold: int, top_candidates: int) -> SearchResult:
        """Answer one step's question; see `ItemSearch`."""
        return self._table.search(query, None, rank_threshold=rank_threshold, top_candidates=top_candidates)

    def ranks(self, query: RankQuery, *, cap: int) -> Tensor:
        """Rank one item a row; see `ExactItemSearch`."""
        return self._table.ranks(query, cap=cap)


def _columns(table: SearchQuery | SearchResult) -> dict[str, Tensor]:
    """The columns under the names that the kernel has for them: those of `ranking.base` without their shapes."""
    return {name[: name.rindex("_")]: column for name, column in vars(table).items()}
