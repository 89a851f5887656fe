"""Adam, and Adam for tables of which an update touches few rows.

Comes in: gradients, dense or of some rows. Goes out: changed weights. A row that an update does not touch keeps its
weights and its moments, so a step takes the time of the rows it touches, whatever the table's size. Moments of a row
are those of its own updates, and so is the count that corrects their bias: a row met late starts as all others did.

The second moment is one number a row, the mean over its elements: beside a table of V x D stand V x D + 2 V numbers,
where Adam needs 2 V x D.

Shapes: V rows of a table, D width, R rows touched.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from rsir_scale.config import TrainingConfig
from rsir_scale.errors import ConfigError
from rsir_scale.models.base import Backbone


def optimiser_of(config: TrainingConfig, backbone: Backbone) -> torch.optim.Optimizer:
    """Build the optimiser that the settings name; with sparse updates the backbone's items give gradients of rows.

    Raises:
        ConfigError: the updates are to be sparse, and the backbone has no row of its own for each item.
    """
    if config.item_updates == "sparse":
        embedding = backbone.item_embedding()
        if embedding is None:
            raise ConfigError(
                f"training.item_updates=sparse changes the rows of single items, and {type(backbone).__name__} has "
                "none: set training.item_updates=dense, or let its item_embedding return them"
            )
        embedding.sparse = True
    return RowAdam(backbone.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True)


def row_tables(backbone: Backbone) -> tuple[Tensor, ...]:
    """The parameters whose gradients are of single rows."""
    embedding = backbone.item_embedding()
    return (embedding.weight,) if embedding is not None and embedding.sparse else ()


def require_rows(tables: Sequence[Tensor], backbone: Backbone) -> None:
    """Refuse a gradient of a whole table where one of rows was asked for.

    Raises:
        ConfigError: the backbone reads its table otherwise than by its embedding.
    """
    if any(table.grad is not None and not table.grad.is_sparse for table in tables):
        raise ConfigError(
            f"training.item_updates=sparse, but {type(backbone).__name__} gave a gradient of all items: let hidden and "
            "vectors_of read rows by calling the module that item_embedding returns, or set "
            "training.item_updates=dense"
        )


class RowAdam(torch.optim.Adam):
    """Adam that takes sparse gradients row by row, without weight decay; dense ones as `torch.optim.Adam` does.

    State of a table that met a sparse gradient: `exp_avg` `[V, D]`, `exp_avg_sq` and `step` `[V]`, float32.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Update all parameters that have a gradient, and release the sparse ones."""
        for group in self.param_groups:
            for table in group["params"]:
                if table.grad is not None and table.grad.is_sparse:
                    gradient, table.grad = table.grad.coalesce(), None
                    self._update_rows(table, gradient.indices()[0], gradient.values(), group)
        loss: float | None = super().step(closure)
        return loss

    def _update_rows(self, table_VD: Tensor, row_R: Tensor, gradient_RD: Tensor, group: dict[str, Any]) -> None:
        state = self.state[table_VD]
        if not state:
            state["step"] = table_VD.new_zeros(len(table_VD))
            state["exp_avg"] = torch.zeros_like(table_VD)
            state["exp_avg_sq"] = table_VD.new_zeros(len(table_VD))
        rate, (beta_1, beta_2) = float(group["lr"]), group["betas"]
        count_R = state["step"][row_R] + 1
        mean_RD = state["exp_avg"][row_R].lerp_(gradient_RD, 1 - beta_1)
        square_R = state["exp_avg_sq"][row_R].lerp_(gradient_RD.square().mean(1), 1 - beta_2)
        state["step"][row_R], state["exp_avg"][row_R], state["exp_avg_sq"][row_R] = count_R, mean_RD, square_R
        scale_R = (square_R / _complement(beta_2, count_R)).sqrt_().add_(group["eps"])
        change_RD = mean_RD.mul_((-rate / (_complement(beta_1, count_R) * scale_R))[:, None])
        table_VD.index_add_(0, row_R, change_RD)


def _complement(beta: float, count_R: Tensor) -> Tensor:
    """1 - beta^count, to full precision also for the first counts."""
    return -torch.expm1(count_R * math.log(beta))
