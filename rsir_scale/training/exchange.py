"""Gradients of data-parallel workers, summed: every worker ends with the same ones.

Dense gradients travel together in one sum, but large ones alone, since to copy them would cost more than a call. Of a
table with sparse gradients, the workers first tell each other which rows they touched and then sum these rows only;
as negatives are the same for all, their rows are sent once around, not once a worker.

Shapes: D width, R rows that this worker touched, U rows that any worker touched, W workers.
"""

from collections.abc import Sequence

import torch
import torch.distributed as distributed
from torch import Tensor

_ALONE_FROM = 1 << 18  # elements


def all_have(number: int, device: torch.device) -> bool:
    """Whether every worker calls this with the same number."""
    extremes = torch.tensor([number, -number], device=device)
    distributed.all_reduce(extremes, distributed.ReduceOp.MAX)
    return bool(extremes[0] == -extremes[1])


def sum_gradients(dense: Sequence[Tensor], tables: Sequence[Tensor], loss: Tensor) -> Tensor:
    """Replace every gradient by its sum over the workers; a worker without one takes part with zeros.

    A parameter that has a gradient on no worker is left without one, as it is where there is one worker.

    Args:
        dense: parameters to train, with dense gradients or none.
        tables: parameters `[V, D]` with gradients of rows or none.
        loss: this worker's share of the loss, a single number.

    Returns:
        The loss, summed.
    """
    has = loss.new_tensor([parameter.grad is not None for parameter in dense])
    for parameter in dense:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    gradients = [parameter.grad for parameter in dense if parameter.grad is not None]
    for table in tables:
        table.grad = _touched_by_any(table)
        gradients.append(table.grad.values())
    summed = loss.detach().clone().reshape(1)
    _sum_together([*(gradient for gradient in gradients if gradient.numel() < _ALONE_FROM), has, summed])
    for gradient in gradients:
        if gradient.numel() >= _ALONE_FROM:
            distributed.all_reduce(gradient)
    for parameter, holders in zip(dense, has.tolist(), strict=True):
        if not holders:
            parameter.grad = None
    return summed[0]


def _sum_together(tensors: Sequence[Tensor]) -> None:
    flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
    distributed.all_reduce(flat)
    for tensor, part in zip(tensors, torch.split(flat, [tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(part.view(tensor.shape))


def _touched_by_any(table: Tensor) -> Tensor:
    """This worker's gradient of a table, with a row for each that any worker touched; its values are not copied out."""
    if table.grad is None:
        row_R, value_RD = table.new_empty(0, dtype=torch.int64), table.new_empty((0, table.shape[1]))
    else:
        own = table.grad.coalesce()
        row_R, value_RD = own.indices()[0], own.values()
    row_U = torch.unique(_gather(row_R))
    value_UD = table.new_zeros((len(row_U), table.shape[1]))
    value_UD[torch.searchsorted(row_U, row_R)] = value_RD
    return torch.sparse_coo_tensor(row_U[None], value_UD, table.shape, is_coalesced=True, check_invariants=False)


def _gather(row_R: Tensor) -> Tensor:
    """The numbers of all workers, one after another."""
    workers = distributed.get_world_size()
    counts = [row_R.new_empty(1) for _ in range(workers)]
    distributed.all_gather(counts, row_R.new_tensor([len(row_R)]))
    lengths = [int(count) for count in counts]
    padded = row_R.new_zeros(max(lengths))
    padded[: len(row_R)] = row_R
    gathered = [torch.empty_like(padded) for _ in range(workers)]
    distributed.all_gather(gathered, padded)
    return torch.cat([rows[:length] for rows, length in zip(gathered, lengths, strict=True)])
