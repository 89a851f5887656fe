"""A checkpoint that is damaged, of another model or not a number is refused, and nothing else is."""

import pytest
import torch
from safetensors.torch import load, save

from rsir_scale.config.settings import ModelConfig
from rsir_scale.errors import IntegrityError
from rsir_scale.models.checkpoint import build_backbone
from rsir_scale.runs.trained import ModelDescription
from tests.models.stored import loaded, weights_bytes

MODEL = ModelConfig(width=4, blocks=1, heads=2, feed_forward=4)
DESCRIPTION = ModelDescription(model=MODEL, item_count=6, max_length=5)


def _weights() -> bytes:
    return weights_bytes(build_backbone(DESCRIPTION, seed=1))


def test_a_sound_pair_is_loaded() -> None:
    assert weights_bytes(loaded(DESCRIPTION, _weights())) == _weights()


@pytest.mark.parametrize("cut", [0, 4, 40, -1])
def test_truncated_weights_are_refused(cut: int) -> None:
    with pytest.raises(IntegrityError, match="damaged"):
        loaded(DESCRIPTION, _weights()[:cut])


@pytest.mark.parametrize(
    ("other", "named"),
    [
        (DESCRIPTION.model_copy(update={"item_count": 7}), "items.weight"),
        (DESCRIPTION.model_copy(update={"max_length": 4}), "positions.weight"),
        (DESCRIPTION.model_copy(update={"model": MODEL.model_copy(update={"blocks": 2})}), "blocks.1"),
        (DESCRIPTION.model_copy(update={"model": MODEL.model_copy(update={"norm": "pre"})}), "final_norm"),
    ],
)
def test_weights_of_another_model_are_refused_by_name(other: ModelDescription, named: str) -> None:
    with pytest.raises(IntegrityError, match=named):
        loaded(other, _weights())


@pytest.mark.parametrize("change", ["missing", "unknown"])
def test_a_missing_or_unknown_tensor_is_refused(change: str) -> None:
    tensors = load(_weights())
    if change == "missing":
        tensors.pop("positions.weight")
    else:
        tensors["unknown"] = torch.zeros(1)
    with pytest.raises(IntegrityError, match=r"unknown|positions\.weight"):
        loaded(DESCRIPTION, save(tensors))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(value: float) -> None:
    tensors = load(_weights())
    tensors["positions.weight"][2, 1] = value
    with pytest.raises(IntegrityError, match=r"NaN or infinity in row 2 of 'positions\.weight'"):
        loaded(DESCRIPTION, save(tensors))
