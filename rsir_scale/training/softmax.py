"""Sums over many scores of inner products, with their gradients, in memory that T times N does not decide.

Comes in: queries, the vectors that they are scored against, a weight for each query. Goes out: one number. Scores are
made some rows at a time, and the gradients with them: nothing of size T x N outlives its rows, where autograd would
keep several copies of it. Nowhere else is that done, so that a compiled version can stand in for these functions.

Shapes: T targets, D width, N vectors to score against, C rows at a time, H hidden scores.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from rsir_scale.training import compiled

_SCORES_AT_ONCE = 1 << 20  # 4 MiB in single precision, twice: about what a processor's caches hold
_SCORES_AT_ONCE_ON_A_GPU = 1 << 25
_ROWS_AT_LEAST = 16  # each chunk adds to the gradient of the whole table: with fewer rows that takes most of the time


class Hidden(NamedTuple):
    """Scores that are left out of a sum, each once: row and column of the T x N scores, int64 `[H]`."""

    row_H: Tensor
    column_H: Tensor


def softmax_within(query_TD: Tensor, table_ND: Tensor, column_T: Tensor, weight_T: Tensor) -> Tensor:
    """Softmax cross-entropy where each target is one of the table's rows; differentiable by query and table.

    Args:
        query_TD: one query for each target.
        table_ND: what the softmax runs over.
        column_T: int64, the target's row of the table, 0..N-1.
        weight_T: weight of each target; no gradient.

    Returns:
        The sum over t of `weight_t · (logsumexp_n(query_t · table_n) - query_t · table_[column_t])`.
    """
    if compiled.takes(query_TD, table_ND):
        target_T = (query_TD * F.embedding(column_T, table_ND)).sum(1)
        return compiled.softmax_sum(query_TD, table_ND, target_T, weight_T, target_in_table=True)
    total: Tensor = _SoftmaxSum.apply(query_TD, table_ND, None, weight_T, column_T, None)  # type: ignore[no-untyped-call]
    return total


def softmax_against(
    query_TD: Tensor,
    negative_ND: Tensor,
    positive_T: Tensor,
    weight_T: Tensor,
    *,
    hidden: Hidden | None = None,
) -> Tensor:
    """Softmax cross-entropy of each target's own score against the scores of negatives.

    Args:
        query_TD: one query for each target.
        negative_ND: vectors of the negatives, shared by all targets.
        positive_T: the target's own score.
        weight_T: weight of each target; no gradient.
        hidden: scores that do not count.

    Returns:
        The sum over t of `weight_t · (log(exp(positive_t) + sum_n exp(query_t · negative_n)) - positive_t)`
        over the n that are not hidden from t; differentiable by query, negatives and positive.
    """
    if compiled.takes(query_TD, negative_ND):
        return compiled.softmax_sum(query_TD, negative_ND, positive_T, weight_T, target_in_table=False, hidden=hidden)
    total: Tensor = _SoftmaxSum.apply(query_TD, negative_ND, positive_T, weight_T, None, hidden)  # type: ignore[no-untyped-call]
    return total


def softplus_against(
    query_TD: Tensor, negative_ND: Tensor, weight_T: Tensor, *, hidden: Hidden | None = None
) -> Tensor:
    """Binary cross-entropy of negatives: the sum over t of `weight_t · sum_n log(1 + exp(query_t · negative_n))`.

    Args and gradients are those of `softmax_against`.
    """
    total: Tensor = _SoftplusSum.apply(query_TD, negative_ND, weight_T, hidden)  # type: ignore[no-untyped-call]
    return total


class _SoftmaxSum(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        query_TD: Tensor,
        table_ND: Tensor,
        positive_T: Tensor | None,
        weight_T: Tensor,
        column_T: Tensor | None,
        hidden: Hidden | None,
    ) -> Tensor:
        total, gradients = query_TD.new_zeros(()), _Gradients(query_TD, table_ND)
        by_positive_T = torch.empty_like(weight_T, dtype=query_TD.dtype)
        for rows in _chunks(query_TD, len(table_ND)):
            score_CN = _scores(query_TD[rows], table_ND, _within(hidden, rows))
            if positive_T is not None:
                score_CN = torch.cat([positive_T[rows, None], score_CN], dim=1)
            target_C1 = torch.zeros_like(weight_T[rows], dtype=torch.int64) if column_T is None else column_T[rows]
            target_C1 = target_C1[:, None]
            share_CN = score_CN.log_softmax(1)
            total -= (weight_T[rows] * share_CN.gather(1, target_C1)[:, 0]).sum()
            share_CN.exp_().mul_(weight_T[rows, None])
            share_CN.scatter_add_(1, target_C1, -weight_T[rows, None].to(share_CN.dtype))
            if positive_T is not None:
                by_positive_T[rows] = share_CN[:, 0]
                share_CN = share_CN[:, 1:]
            gradients.add(rows, share_CN)
        ctx.save_for_backward(gradients.query_TD, gradients.table_ND, by_positive_T)
        ctx.has_positive = positive_T is not None
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_total: Tensor) -> tuple[Tensor | None, ...]:
        query_TD, table_ND, positive_T = ctx.saved_tensors
        by_positive_T = positive_T * by_total if ctx.has_positive else None
        return query_TD * by_total, table_ND * by_total, by_positive_T, None, None, None


class _SoftplusSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query_TD: Tensor, table_ND: Tensor, weight_T: Tensor, hidden: Hidden | None) -> Tensor:
        total, gradients = query_TD.new_zeros(()), _Gradients(query_TD, table_ND)
        for rows in _chunks(query_TD, len(table_ND)):
            score_CN = _scores(query_TD[rows], table_ND, _within(hidden, rows))
            total += (weight_T[rows] * F.softplus(score_CN).sum(1)).sum()
            gradients.add(rows, score_CN.sigmoid_().mul_(weight_T[rows, None]))
        ctx.save_for_backward(gradients.query_TD, gradients.table_ND)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_total: Tensor) -> tuple[Tensor | None, ...]:
        query_TD, table_ND = ctx.saved_tensors
        return query_TD * by_total, table_ND * by_total, None, None


class _Gradients:
    """Gradients by query and table, added to chunk by chunk."""

    def __init__(self, query_TD: Tensor, table_ND: Tensor) -> None:
        self.query_TD, self.table_ND = torch.empty_like(query_TD), torch.zeros_like(table_ND)
        self._of = query_TD, table_ND

    def add(self, rows: slice, by_score_CN: Tensor) -> None:
        query_TD, table_ND = self._of
        torch.mm(by_score_CN, table_ND, out=self.query_TD[rows])
        self.table_ND.addmm_(by_score_CN.T, query_TD[rows])


def _chunks(query_TD: Tensor, columns: int) -> Iterator[slice]:
    at_once = _SCORES_AT_ONCE if query_TD.device.type == "cpu" else _SCORES_AT_ONCE_ON_A_GPU
    rows = max(_ROWS_AT_LEAST, at_once // max(1, columns))
    for start in range(0, len(query_TD), rows):
        yield slice(start, min(start + rows, len(query_TD)))


def _within(hidden: Hidden | None, rows: slice) -> Hidden | None:
    if hidden is None:
        return None
    inside = (hidden.row_H >= rows.start) & (hidden.row_H < rows.stop)
    return Hidden(hidden.row_H[inside] - rows.start, hidden.column_H[inside])


def _scores(query_CD: Tensor, table_ND: Tensor, hidden: Hidden | None) -> Tensor:
    score_CN = query_CD @ table_ND.T
    if hidden is not None:
        score_CN[hidden.row_H, hidden.column_H] = float("-inf")
    return score_CN
