"""Adam, and Adam for tables of which an update touches few rows.

Comes in: gradients, dense or of some rows. Goes out: changed weights. Under Adam a row goes on moving by its momentum
after its gradient is gone. Here these moves are put off until the row is read next, and are then made in one, as the
sum of a geometric series: a step takes the time of the rows it touches, whatever the table's size, and a row that is
seldom touched learns as fast as under Adam. Before anything reads the whole table, `settle` makes all moves put off.

The second moment is one number a row, the mean over its elements: beside a table of V x D stand V x D + 2 V numbers,
where Adam needs 2 V x D. The series takes the correction of bias and the learning rate as they were at its first move,
which is off by 4 % of a move at the hundredth update and by less than 1 % from the four hundredth on (at a constant
rate): moves die away within some twenty.

`torch.optim.adam.adam` does the arithmetic of dense gradients. The class `torch.optim.Adam` would too, but making one
imports torch's compiler, which takes as long as the rest of torch, in every process that trains.

Shapes: V rows of a table, D width, R rows touched, B any shape of items read.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cache

import torch
from torch import Tensor, nn
from torch.optim.adam import adam

from rsir_scale.config.settings import TrainingConfig
from rsir_scale.errors import ConfigError
from rsir_scale.models.base import Backbone
from rsir_scale.models.probe import require_item_embedding
from rsir_scale.training.schedule import Schedule, schedule_of

_ROWS_AT_ONCE = 1 << 16
_POWERS = 1 << 15  # the slowest decay, .999, is 6e-15 there
# As Kingma and Ba (2015) propose them.
_BETA_1, _BETA_2, _EPSILON = 0.9, 0.999, 1e-8


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
    optimiser = RowAdam(model.parameters(), schedule, weight_decay=config.weight_decay)
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


class RowAdam:
    """Adam that takes sparse gradients row by row, without weight decay; dense ones as `torch.optim.Adam` does.

    Args:
        parameters: what it changes.
        schedule: the learning rate of each update.
        weight_decay: L2 penalty of parameters with dense gradients.

    Attributes:
        rate: the learning rate of the next step.
        state: moments of each parameter that had a gradient, in its precision: `exp_avg` and `exp_avg_sq` of its shape,
            and `step`, its updates. Of a table that met a sparse gradient `exp_avg_sq` is `[V]`, and `reached` `[V]` is
            the update up to which a row's moves are made.

    Source: Kingma and Ba, Adam, ICLR 2015.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], schedule: Schedule, *, weight_decay: float = 0.0) -> None:
        self.rate = schedule.peak
        self.state: dict[Tensor, dict[str, Tensor]] = {}
        self._parameters = tuple(parameters)
        self._schedule = schedule
        self._weight_decay = weight_decay

    def at(self, update: int) -> None:
        """Take the learning rate of an update, the first being 0."""
        self.rate = self._schedule.of(update)

    def zero_grad(self) -> None:
        """Release all gradients."""
        for parameter in self._parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Update all parameters that have a gradient, and release the sparse ones."""
        for table in self._parameters:
            if table.grad is not None and table.grad.is_sparse:
                gradient, table.grad = table.grad.coalesce(), None
                self._update_rows(table, gradient.indices()[0], gradient.values())
        self._update_dense([parameter for parameter in self._parameters if parameter.grad is not None])

    def moments(self) -> dict[int, dict[str, Tensor]]:
        """The state by each parameter's place among all."""
        return {place: self.state[one] for place, one in enumerate(self._parameters) if one in self.state}

    def restore(self, moments: Mapping[int, Mapping[str, Tensor]]) -> None:
        """Take what another optimiser's `moments` gave; tensors that lie on the right device become its own."""
        self.state = {
            self._parameters[place]: {name: tensor.to(self._parameters[place].device) for name, tensor in one.items()}
            for place, one in moments.items()
        }

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

    def _update_dense(self, parameters: list[nn.Parameter]) -> None:
        states = [self.state.setdefault(one, _zero_moments(one)) for one in parameters]
        adam(
            list(parameters),
            [one.grad for one in parameters if one.grad is not None],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            [state["step"] for state in states],
            fused=True,
            amsgrad=False,
            beta1=_BETA_1,
            beta2=_BETA_2,
            lr=self.rate,
            weight_decay=self._weight_decay,
            eps=_EPSILON,
            maximize=False,
        )

    def _update_rows(self, table_VD: Tensor, row_R: Tensor, gradient_RD: Tensor) -> None:
        if table_VD not in self.state:
            self.state[table_VD] = {
                "step": table_VD.new_zeros(()),
                "exp_avg": torch.zeros_like(table_VD),
                "exp_avg_sq": table_VD.new_zeros(len(table_VD)),
                "reached": table_VD.new_zeros(len(table_VD)),
            }
        state = self.state[table_VD]
        # Rows that another worker alone has read stand back here.
        self._catch_up(table_VD, row_R)
        state["step"] += 1
        mean_RD = state["exp_avg"][row_R].lerp_(gradient_RD, 1 - _BETA_1)
        square_R = state["exp_avg_sq"][row_R].lerp_(gradient_RD.square().mean(1), 1 - _BETA_2)
        state["exp_avg"][row_R], state["exp_avg_sq"][row_R], state["reached"][row_R] = mean_RD, square_R, state["step"]
        pace_R = self.rate * _pace(square_R, state["step"].expand(len(row_R)))
        table_VD.index_add_(0, row_R, mean_RD.mul_(-pace_R[:, None]))

    def _catch_up(self, table_VD: Tensor, row_R: Tensor) -> None:
        """Make the moves that rows have put off, and let their moments decay as much.

        Whichever rows are caught up together, each ends in the same bits: so workers that read different rows agree.
        """
        state = self.state[table_VD]
        row_R = row_R[state["reached"][row_R] < state["step"]]
        if len(row_R) == 0:
            return
        decay = _BETA_1 / math.sqrt(_BETA_2)
        reached_R = state["reached"][row_R]
        late_R = state["step"] - reached_R
        mean_RD, square_R = state["exp_avg"][row_R], state["exp_avg_sq"][row_R]
        moves_R = (1 - _power(decay, late_R)) * (decay / (1 - decay))
        # The rate at the first of the moves: which update they are made at must not matter.
        pace_R = self._schedule.of_rows(reached_R) * _pace(square_R, reached_R + 1) * moves_R
        table_VD.index_add_(0, row_R, mean_RD * -pace_R[:, None])
        state["exp_avg"][row_R] = mean_RD * _power(_BETA_1, late_R)[:, None]
        state["exp_avg_sq"][row_R] = square_R * _power(_BETA_2, late_R)
        state["reached"][row_R] = state["step"]


def _zero_moments(parameter: Tensor) -> dict[str, Tensor]:
    """The state before the first update; `step` is float32, as the fused kernel asks."""
    return {
        "step": torch.zeros((), dtype=torch.float32, device=parameter.device),
        "exp_avg": torch.zeros_like(parameter),
        "exp_avg_sq": torch.zeros_like(parameter),
    }


def _pace(square_R: Tensor, update_R: Tensor) -> Tensor:
    """What a row's first moment is multiplied with to move it at an update, 1 being the first, at a rate of 1."""
    scale_R = (square_R / (1 - _power(_BETA_2, update_R))).sqrt_().add_(_EPSILON)
    pace_R: Tensor = 1.0 / ((1 - _power(_BETA_1, update_R)) * scale_R)
    return pace_R


def _power(base: float, exponent_R: Tensor) -> Tensor:
    """A number below 1 to whole powers, by look-up: the same bits wherever in a tensor a power stands."""
    powers = _powers(base, exponent_R.device)
    return powers[exponent_R.long().clamp_(max=len(powers) - 1)].to(exponent_R.dtype)


@cache
def _powers(base: float, device: torch.device) -> Tensor:
    return (base ** torch.arange(_POWERS, dtype=torch.float64)).to(device)
