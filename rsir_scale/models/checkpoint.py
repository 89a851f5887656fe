"""A backbone from its description and weights. Nothing is ever unpickled.

Loading checks that the weights are the ones that the model's description calls for: names, shapes and finite values.
Pieces of weights go straight into the backbone, so that loading holds one table and one object at a time.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn

from rsir_scale.config.settings import Config
from rsir_scale.data.dataset import PreparedDataset
from rsir_scale.errors import IntegrityError, shown
from rsir_scale.models.base import Backbone
from rsir_scale.models.cl4srec import CL4SRec
from rsir_scale.models.hstu import HSTU
from rsir_scale.models.plugin import plugin_class
from rsir_scale.models.sasrec import SASRec
from rsir_scale.models.semantic_id import SemanticId
from rsir_scale.models.shards import Piece, assemble
from rsir_scale.runs.trained import ModelDescription

Build = Callable[..., Backbone]
Model = TypeVar("Model", bound=nn.Module)
BACKBONES: dict[str, Build] = {
    "sasrec": SASRec,
    "cl4srec": CL4SRec,
    "hstu": HSTU,
    "semantic_id": SemanticId,
}
_NAMES_SHOWN = 3
_WAY_OUT = "restore the one that was changed, or train the iteration again"
_ITEM_TABLE = "items.weight"  # row 0 is padding


def describe(config: Config, dataset: PreparedDataset) -> ModelDescription:
    """Describe the model that a config asks for on a dataset."""
    return ModelDescription(model=config.model, item_count=dataset.meta.items, max_length=config.data.max_length)


def build_backbone(description: ModelDescription, *, seed: int = 0) -> Backbone:
    """Build an untrained backbone; its initial weights belong to `seed`, and torch's generator stays as it was.

    Raises:
        ConfigError: a class of the user's cannot be imported.
    """
    name = description.model.backbone
    build: Build = plugin_class(name) if description.model.is_plugin else BACKBONES[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build(description.model, item_count=description.item_count, max_length=description.max_length)


def copy_weights(model: nn.Module) -> dict[str, Tensor]:
    """Copy the weights to CPU memory, by name."""
    return {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in model.state_dict().items()}


def backbone_from(
    description: ModelDescription,
    pieces: Iterable[Piece],
    *,
    device: str = "cpu",
    item_name: Callable[[int], str] | None = None,
) -> Backbone:
    """Rebuild a trained backbone in evaluation mode.

    Args:
        description: what to build.
        pieces: its weights.
        device: where the backbone goes.
        item_name: what the user calls an item, by its index; without it errors have the index alone.

    Raises:
        IntegrityError: weights and description disagree, or a weight is not finite.
        ConfigError: the description names a class of the user's that cannot be imported here.
    """
    return with_weights(build_backbone(description), pieces, device=device, item_name=item_name)


def with_weights(
    model: Model, pieces: Iterable[Piece], *, device: str = "cpu", item_name: Callable[[int], str] | None = None
) -> Model:
    """Return a model that was just built with trained weights in place of its own, in evaluation mode.

    Other arguments and errors as of `backbone_from`.
    """
    # Entries of a state_dict share their memory with the model's own tensors.
    own = model.state_dict()
    found = assemble(_checked(pieces, own, item_name), into=own)
    _refuse_misfits(own.keys() - found.keys())
    return model.to(device).eval()


def _checked(
    pieces: Iterable[Piece], own: Mapping[str, Tensor], item_name: Callable[[int], str] | None
) -> Iterator[Piece]:
    for piece in pieces:
        expected = own.get(piece.name)
        if expected is None or expected.shape != piece.shape:
            _refuse_misfits({piece.name})
        elif expected.dtype != piece.values.dtype:
            found, wanted = (str(kind).removeprefix("torch.") for kind in (piece.values.dtype, expected.dtype))
            raise IntegrityError(f"weights have {piece.name!r} in {found}, the model in {wanted}: {_WAY_OUT}")
        if not torch.isfinite(piece.values).all():
            rows = piece.values.reshape(len(piece.values) if piece.values.dim() else 1, -1)
            row = piece.first + int((~torch.isfinite(rows).all(1)).nonzero()[0])
            whose = f", {item_name(row)}" if item_name and row and piece.name == _ITEM_TABLE else ""
            raise IntegrityError(
                f"weights hold NaN or infinity in row {row} of {piece.name!r}{whose}: train the iteration again"
            )
        yield piece


def _refuse_misfits(names: set[str]) -> None:
    if names:
        some = ", ".join(shown(name) for name in sorted(names)[:_NAMES_SHOWN])
        raise IntegrityError(
            f"weights do not fit the model description at {len(names)} tensors, {some} among them: {_WAY_OUT}"
        )
