"""Adam, and Adam for tables of which an update touches few rows.

Comes in: gradients, dense or of some rows. Goes out: changed weights. Under Adam a row goes on moving by its momentum
after its gradient is gone. Here these moves are put off until the row is read next, and are then made in one, as the
sum of a geometric series: a step takes the time of the rows it touches, whatever the table's size, and a row that is
seldom touched learns as fast as under Adam. Before anything reads the whole table, `settle` makes all moves put off.

The second moment is one number a row, the mean over its elements: beside a table of V x D stand V x D + 2 V numbers,
where Adam needs 2 V x D. The series takes the correction of bias and the learning rate as they were at its first move,
which is off by 4 % of a move at the hundredth update and by less than 1 % from the four hundredth on (at a constant
rate): moves die away within some twenty.

Shapes: V rows of a table, D width, R rows touched, B any shape of items read.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from rsir_scale.config.settings import TrainingConfig
from rsir_scale.errors import ConfigError
from rsir_scale.models.base import Backbone
from rsir_scale.models.probe import require_item_embedding
from rsir_scale.training.schedule import Schedule, schedule_of

_ROWS_AT_ONCE = 1 << 16
_POWERS = 1 << 15  # Adam's slowest, .999, is 6e-15 there


def optimiser_of(config: TrainingConfig, model: nn.Module, *, maximum: int) -> "RowAdam":
    """Build the optimiser that the settings name; with sparse updates the backbone's items give gradients of rows.

    Args:
        config: the training section, or a learner's own.
        model: whose parameters change.
        maximum: updates of the budget, which the learning rate may depend on.

    Raises:
        ConfigError: the updates are to be sparse, and the backbone has no row of its own for each item.
        TypeError: they are to be sparse, and the model is no backbone: its learner asks for what it cannot have.
    """
    schedule = schedule_of(config, maximum)
    optimiser = RowAdam(model.parameters(), schedule, weight_decay=config.weight_decay, fused=True)
    if config.item_updates == "sparse":
        if not isinstance(model, Backbone):
            raise TypeError(f"{type(model).__name__} has no rows of items: its learner must set item_updates to dense")
        embedding = require_item_embedding(model)
        embedding.sparse = True
        embedding.register_forward_pre_hook(optimiser.before_lookup)
    return optimiser


def row_tables(model: nn.Module) -> tuple[Tensor, ...]:
    """The parameters whose gradients are of single rows."""
    embedding = model.item_embedding() if isinstance(model, Backbone) else None
    return (embedding.weight,) if embedding is not None and embedding.sparse else ()


def require_rows(tables: Sequence[Tensor], model: nn.Module) -> None:
    """Refuse a gradient of a whole table where one of rows was asked for.

    Raises:
        ConfigError: the backbone reads its table otherwise than by its embedding.
    """
    if any(table.grad is not None and not table.grad.is_sparse for table in tables):
        raise ConfigError(
            f"training.item_updates=sparse, but {type(model).__name__} gave a gradient of all items: let hidden and "
            "vectors_of read rows by calling the module that item_embedding returns, or set "
            "training.item_updates=dense"
        )


class RowAdam(torch.optim.Adam):
    """Adam that takes sparse gradients row by row, without weight decay; dense ones as `torch.optim.Adam` does.

    State of a table that met a sparse gradient, float32: `exp_avg` `[V, D]`; `exp_avg_sq` `[V]`; `reached` `[V]`, the
    update up to which a row's moves are made; `step`, the updates of the table.

    Args:
        parameters: what it changes.
        schedule: the learning rate of each update.
        settings: the rest of `torch.optim.Adam`'s.
    """

    def __init__(self, parameters: Iterable[Tensor], schedule: Schedule, **settings: Any) -> None:
        super().__init__(parameters, lr=schedule.peak, **settings)
        self._schedule = schedule

    def at(self, update: int) -> None:
        """Take the learning rate of an update, the first being 0."""
        for group in self.param_groups:
            group["lr"] = self._schedule.of(update)

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

    @torch.no_grad()
    def before_lookup(self, embedding: nn.Embedding, inputs: tuple[Tensor, ...]) -> None:
        """Bring the rows that a lookup will read up to date: a forward pre-hook of the table's module."""
        if embedding.training and embedding.weight in self.state:
            self._catch_up(embedding.weight, torch.unique(inputs[0]))

    @torch.no_grad()
    def settle(self) -> None:
        """Make all moves put off: before the weights are read as a whole, or saved."""
        for table, state in self.state.items():
            if "reached" in state:
                for start in range(0, len(table), _ROWS_AT_ONCE):
                    stop = min(start + _ROWS_AT_ONCE, len(table))
                    self._catch_up(table, torch.arange(start, stop, device=table.device))

    def _update_rows(self, table_VD: Tensor, row_R: Tensor, gradient_RD: Tensor, group: dict[str, Any]) -> None:
        state = self.state[table_VD]
        if not state:
            state["step"] = table_VD.new_zeros(())
            state["exp_avg"] = torch.zeros_like(table_VD)
            state["exp_avg_sq"] = table_VD.new_zeros(len(table_VD))
            state["reached"] = table_VD.new_zeros(len(table_VD))
        # Rows that another worker alone has read stand back here.
        self._catch_up(table_VD, row_R)
        state["step"] += 1
        beta_1, beta_2 = group["betas"]
        mean_RD = state["exp_avg"][row_R].lerp_(gradient_RD, 1 - beta_1)
        square_R = state["exp_avg_sq"][row_R].lerp_(gradient_RD.square().mean(1), 1 - beta_2)
        state["exp_avg"][row_R], state["exp_avg_sq"][row_R], state["reached"][row_R] = mean_RD, square_R, state["step"]
        pace_R = group["lr"] * _pace(square_R, state["step"].expand(len(row_R)), group)
        table_VD.index_add_(0, row_R, mean_RD.mul_(-pace_R[:, None]))

    def _catch_up(self, table_VD: Tensor, row_R: Tensor) -> None:
        """Make the moves that rows have put off, and let their moments decay as much.

        Whichever rows are caught up together, each ends in the same bits: so workers that read different rows agree.
        """
        state, (group,) = self.state[table_VD], self.param_groups
        row_R = row_R[state["reached"][row_R] < state["step"]]
        if len(row_R) == 0:
            return
        beta_1, beta_2 = group["betas"]
        decay = beta_1 / math.sqrt(beta_2)
        reached_R = state["reached"][row_R]
        late_R = state["step"] - reached_R
        mean_RD, square_R = state["exp_avg"][row_R], state["exp_avg_sq"][row_R]
        moves_R = (1 - _power(decay, late_R)) * (decay / (1 - decay))
        # The rate at the first of the moves: which update they are made at must not matter.
        pace_R = self._schedule.of_rows(reached_R) * _pace(square_R, reached_R + 1, group) * moves_R
        table_VD.index_add_(0, row_R, mean_RD * -pace_R[:, None])
        state["exp_avg"][row_R] = mean_RD * _power(beta_1, late_R)[:, None]
        state["exp_avg_sq"][row_R] = square_R * _power(beta_2, late_R)
        state["reached"][row_R] = state["step"]


def _pace(square_R: Tensor, update_R: Tensor, group: dict[str, Any]) -> Tensor:
    """What a row's first moment is multiplied with to move it at an update, 1 being the first, at a rate of 1."""
    beta_1, beta_2 = group["betas"]
    scale_R = (square_R / (1 - _power(beta_2, update_R))).sqrt_().add_(group["eps"])
    pace_R: Tensor = 1.0 / ((1 - _power(beta_1, update_R)) * scale_R)
    return pace_R


def _power(base: float, exponent_R: Tensor) -> Tensor:
    """A number below 1 to whole powers, by look-up: the same bits wherever in a tensor a power stands."""
    powers = _powers(base, exponent_R.device)
    return powers[exponent_R.long().clamp_(max=len(powers) - 1)].to(exponent_R.dtype)


@cache
def _powers(base: float, device: torch.device) -> Tensor:
    return (base ** torch.arange(_POWERS, dtype=torch.float64)).to(device)
