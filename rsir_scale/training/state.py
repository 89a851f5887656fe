"""Where a fit stands, as one safetensors object: weights, best weights, optimiser moments and position.

No random state is kept, because every draw is keyed by the number of its update. Nothing is pickled.
"""

import json
from dataclasses import asdict, dataclass

import torch
from safetensors.torch import load, save
from torch import Tensor, nn

_MODEL, _BEST, _OPTIMISER = "model/", "best/", "optimiser/"


@dataclass(frozen=True)
class Position:
    """The scalar part of a fit's state.

    Attributes:
        update: optimiser updates done.
        best_update: update of the best validation so far.
        best_score: its NDCG@20; negative before the first validation.
        seconds: wall time spent so far, over all starts.
    """

    update: int = 0
    best_update: int = 0
    best_score: float = -1.0
    seconds: float = 0.0


def dump_state(
    position: Position, model: nn.Module, best: dict[str, Tensor], optimiser: torch.optim.Optimizer
) -> bytes:
    """Serialise the state of a fit."""
    tensors = {_MODEL + name: tensor for name, tensor in model.state_dict().items()}
    tensors |= {_BEST + name: tensor for name, tensor in best.items()}
    for index, moments in optimiser.state_dict()["state"].items():
        tensors |= {f"{_OPTIMISER}{index}/{name}": torch.as_tensor(value) for name, value in moments.items()}
    owned = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
    return save(owned, metadata={"position": json.dumps(asdict(position))})


def restore_state(
    data: bytes, model: nn.Module, optimiser: torch.optim.Optimizer
) -> tuple[Position, dict[str, Tensor]]:
    """Put a serialised state back into a model and its optimiser; return the position and the best weights."""
    tensors = load(data)
    model.load_state_dict(_under(tensors, _MODEL))
    moments: dict[int, dict[str, Tensor]] = {}
    for name, tensor in _under(tensors, _OPTIMISER).items():
        index, _, moment = name.partition("/")
        moments.setdefault(int(index), {})[moment] = tensor
    optimiser.load_state_dict({"state": moments, "param_groups": optimiser.state_dict()["param_groups"]})
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return Position(**json.loads(header["__metadata__"]["position"])), _under(tensors, _BEST)


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
