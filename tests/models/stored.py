"""A backbone as bytes and back, as a run keeps it, without a store in between."""

from safetensors.torch import save

from rsir_scale.models.base import Backbone
from rsir_scale.models.checkpoint import backbone_from, copy_weights
from rsir_scale.models.shards import pieces_of
from rsir_scale.runs.trained import ModelDescription


def weights_bytes(backbone: Backbone) -> bytes:
    """The weights as one safetensors object."""
    return save(copy_weights(backbone))


def loaded(description: ModelDescription, weights: bytes) -> Backbone:
    """The backbone of such an object."""
    return backbone_from(description, pieces_of(weights))
