"""Softmax cross-entropy on the CPU, compiled: loss and gradients in one call.

Memory is that of a chunk of rows and of the table once more, kept for the thread's next call.

`kernel/` holds the code; it is built with the package where a C++ compiler is found, for AVX-512, AVX2 and any other
processor. What it computes is what `softmax` computes in torch, in single precision and up to rounding. The idea
of never holding all the scores is that of Wijmans et al. (Cut Your Losses in Large-Vocabulary Language Models, ICLR
2025); here each score is computed once, not twice, and no gradient is filtered.

Shapes: T targets, D width, N columns, H hidden pairs.
"""

import ctypes
from typing import Any, cast

import torch
from torch import Tensor

from rsir_scale.extension import Kernel

_LANES = 16


class _Softmax(ctypes.Structure):
    """Mirrors `RsirSoftmax` of kernel/softmax.h."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("rows", "columns", "width")),
        *((name, ctypes.c_void_p) for name in ("query", "table", "target", "weight")),
        ("target_in_table", ctypes.c_int32),
        *((name, ctypes.c_void_p) for name in ("hidden_offset", "hidden_column")),
        *((name, ctypes.c_void_p) for name in ("loss", "query_gradient", "table_gradient", "target_gradient")),
    ]


_KERNEL = Kernel(
    "rsir_scale.training._softmax",
    title="softmax",
    instead="the one in torch",
    nth_name="rsir_softmax_instructions",
    functions={"rsir_softmax_sum": (ctypes.c_int32, (ctypes.c_char_p, ctypes.POINTER(_Softmax), ctypes.c_int64))},
)
instructions = _KERNEL.instructions


def takes(query_TD: Tensor, table_ND: Tensor) -> bool:
    """Whether the kernel was built and computes such a loss: float32 on a CPU, of a width that fills whole vectors."""
    whole = query_TD.shape[1] % _LANES == 0 and len(query_TD) > 0 and len(table_ND) > 0
    return whole and _KERNEL.takes(query_TD, table_ND)


def softmax_sum(
    query_TD: Tensor,
    table_ND: Tensor,
    target_T: Tensor,
    weight_T: Tensor,
    *,
    target_in_table: bool,
    hidden: tuple[Tensor, Tensor] | None = None,
    using: str | None = None,
) -> Tensor:
    """Return the weighted sum of softmax cross-entropies, differentiable by query, table and the targets' scores.

    Args:
        query_TD, table_ND: as `takes` wants them.
        target_T: the targets' own scores.
        weight_T: weight of each target; no gradient.
        target_in_table: whether the target is one of the table's rows, or counts beside them.
        hidden: target and row of the table, int64 `[H]` each, of scores that do not count.
        using: one of `instructions()`; None for the best.

    Raises:
        ConfigError: the kernel was not built, or lacks the instructions.
    """
    _, name = _KERNEL.open(using)
    return cast(Tensor, _Loss.apply(query_TD, table_ND, target_T, weight_T, target_in_table, hidden, name))  # type: ignore[no-untyped-call]


class _Loss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        query_TD: Tensor,
        table_ND: Tensor,
        target_T: Tensor,
        weight_T: Tensor,
        target_in_table: bool,
        hidden: tuple[Tensor, Tensor] | None,
        using: str,
    ) -> Tensor:
        query_TD, table_ND, target_T, weight_T = (
            tensor.detach().contiguous() for tensor in (query_TD, table_ND, target_T, weight_T)
        )
        offset_T1, column_H = (None, None) if hidden is None else _by_row(*hidden, rows=len(query_TD))
        loss_T, target_gradient_T = torch.empty_like(target_T), torch.empty_like(target_T)
        query_gradient_TD, table_gradient_ND = torch.empty_like(query_TD), torch.empty_like(table_ND)
        problem = _Softmax(
            rows=len(query_TD),
            columns=len(table_ND),
            width=query_TD.shape[1],
            query=query_TD.data_ptr(),
            table=table_ND.data_ptr(),
            target=target_T.data_ptr(),
            weight=weight_T.data_ptr(),
            target_in_table=target_in_table,
            hidden_offset=_pointer(offset_T1),
            hidden_column=_pointer(column_H),
            loss=loss_T.data_ptr(),
            query_gradient=query_gradient_TD.data_ptr(),
            table_gradient=table_gradient_ND.data_ptr(),
            target_gradient=target_gradient_T.data_ptr(),
        )
        library, _ = _KERNEL.open(using)
        if library.rsir_softmax_sum(using.encode(), problem, torch.get_num_threads()):
            raise MemoryError(f"no memory for the loss of {len(query_TD)} targets over {len(table_ND)} items")
        ctx.save_for_backward(query_gradient_TD, table_gradient_ND, target_gradient_T)
        return (loss_T * weight_T).sum()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (scale,) = gradients
        # Nobody else holds these, and backward runs once.
        query_TD, table_ND, target_T = (saved.mul_(scale) for saved in ctx.saved_tensors)
        return query_TD, table_ND, target_T, None, None, None, None


def _by_row(row_H: Tensor, column_H: Tensor, *, rows: int) -> tuple[Tensor, Tensor]:
    """Turn pairs of row and column into the columns of each row, and where they begin."""
    offset_T1 = torch.zeros(rows + 1, dtype=torch.int64)
    torch.cumsum(torch.bincount(row_H, minlength=rows), 0, out=offset_T1[1:])
    return offset_T1, column_H[torch.argsort(row_H, stable=True)]


def _pointer(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()
