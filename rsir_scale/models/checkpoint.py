"""A backbone as bytes: weights as safetensors, its shape as JSON. Nothing is ever unpickled.

Loading checks that the weights are the ones that the model's description calls for: names, shapes and finite values.
"""

from collections.abc import Callable

import torch
from pydantic import BaseModel, ConfigDict, PositiveInt, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from rsir_scale.config import Config, ModelConfig
from rsir_scale.data.dataset import PreparedDataset
from rsir_scale.errors import IntegrityError
from rsir_scale.models.base import Backbone
from rsir_scale.models.cl4srec import CL4SRec
from rsir_scale.models.hstu import HSTU
from rsir_scale.models.plugin import plugin_class
from rsir_scale.models.sasrec import SASRec
from rsir_scale.models.semantic_id import SemanticId

Build = Callable[..., Backbone]
BACKBONES: dict[str, Build] = {
    "sasrec": SASRec,
    "cl4srec": CL4SRec,
    "hstu": HSTU,
    "semantic_id": SemanticId,
}
_ITEM_TABLE = "items.weight"  # row 0 is padding


class ModelDescription(BaseModel):
    """All that is needed to build the backbone that a weights file fits."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    model: ModelConfig
    item_count: PositiveInt
    max_length: PositiveInt


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


def weights_bytes(backbone: Backbone) -> bytes:
    """Serialise the weights as safetensors."""
    return save(copy_weights(backbone))


def copy_weights(backbone: Backbone) -> dict[str, Tensor]:
    """Copy the weights to CPU memory, by name."""
    return {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in backbone.state_dict().items()}


def load_backbone(
    description: bytes, weights: bytes, *, device: str = "cpu", item_name: Callable[[int], str] | None = None
) -> Backbone:
    """Rebuild a trained backbone in evaluation mode.

    Args:
        description: a `ModelDescription` as JSON.
        weights: as safetensors.
        device: where the backbone goes.
        item_name: what the user calls an item, by its index; without it errors have the index alone.

    Raises:
        IntegrityError: the bytes are no model description or no safetensors, weights and description disagree, or a
            weight is not finite.
        ConfigError: the description names a class of the user's that cannot be imported here.
    """
    try:
        described = ModelDescription.model_validate_json(description)
        tensors = load(weights)
    except (ValidationError, SafetensorError) as error:
        raise IntegrityError(
            f"model files are damaged ({error}): restore them, or train the iteration again"
        ) from error
    backbone = build_backbone(described)
    expected = {name: tensor.shape for name, tensor in backbone.state_dict().items()}
    found = {name: tensor.shape for name, tensor in tensors.items()}
    if expected != found:
        differing = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
        raise IntegrityError(
            f"weights do not fit the model description at {differing}: the two files are not of a pair"
        )
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            row = int((~torch.isfinite(tensor.reshape(len(tensor), -1)).all(1)).nonzero()[0])
            whose = f", {item_name(row)}" if item_name and row and name == _ITEM_TABLE else ""
            raise IntegrityError(
                f"weights hold NaN or infinity in row {row} of {name!r}{whose}: train the iteration again"
            )
    backbone.load_state_dict(tensors)
    return backbone.to(device).eval()
