"""The options of DiffuASR, their ranges and their defaults; where a default is not the authors', it says so."""

import math
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from rsir_scale.config.fitting import (
    NotBool,
    NotNegative,
    Positive,
    PositiveInt,
    Section,
    ShareBelowOne,
)
from rsir_scale.errors import ConfigError

_LEAST_WIDTH = 8
_LONGEST_MAP = 4  # times as long as wide


class DiffuASROptions(Section):
    """Settings of `augmenter.*` for `generation.augmenter=diffuasr`."""

    items: Annotated[int, NotBool, Field(ge=1, le=64)] = Field(
        default=3, description="M: items written before a sequence (the authors write 10)"
    )
    shorter_than: PositiveInt = Field(
        default=18, description="sequences with fewer items are extended, as in ASReP (the authors extend all)"
    )
    least_context: PositiveInt = Field(
        default=3, description="the model learns from sequences with that many items after their first M, or more"
    )
    guidance: Literal["classifier_free", "classifier"] = Field(
        default="classifier_free",
        description="what pulls a sample towards its sequence: the guess with the sequence against the guess without; "
        "or the gradient of a classifier that tells the sequence's first item",
    )
    guidance_scale: NotNegative = Field(default=1.0, description="strength of the guidance; 0: none")
    drop_condition: ShareBelowOne = Field(
        default=0.1, description="share of training examples that hide their sequence (classifier_free)"
    )
    steps: Annotated[int, NotBool, Field(ge=50, le=100_000)] = Field(
        default=1000, description="T: steps of noise that the model learns to take back"
    )
    sampling_steps: PositiveInt = Field(default=5, description="steps of DDIM that write a sample")
    channels: Annotated[int, NotBool, Field(ge=8, le=1024, multiple_of=8)] = Field(
        default=8, description="width of the U-Net, a multiple of 8"
    )
    dropout: ShareBelowOne = Field(default=0.1, description="share of the U-Net's activations zeroed in training")
    learning_rate: Positive = Field(default=1e-3, description="of Adam")
    batch_size: PositiveInt = Field(default=512, description="sequences of an update, over all workers")
    epochs: PositiveInt = Field(
        default=500,
        description="passes over the sequences that the model learns from, at the most (the authors: 3,000)",
    )
    patience: PositiveInt = Field(default=50, description="passes without a lower loss on a fixed sample")

    @field_validator("sampling_steps")
    @classmethod
    def _each_step_is_visited_once(cls, value: int, info: ValidationInfo) -> int:
        steps = info.data.get("steps", value)
        if value > steps:
            raise ValueError(f"it is more than augmenter.steps={steps}, and each step is visited once")
        return value

    @property
    def least_length(self) -> int:
        """Items of the shortest sequence that the model learns from."""
        return self.items + self.least_context


def map_height(width: int) -> int:
    """Rows of the map that an item's vector is laid out as: the largest divisor of its width up to the square root.

    64 is 8 x 8, 128 is 8 x 16, 50 is 5 x 10.

    Raises:
        ConfigError: the map would have fewer than 8 values, or be more than four times as long as wide, and a
            convolution would see little of it.
    """
    height = next(side for side in range(math.isqrt(width), 0, -1) if width % side == 0)
    if width < _LEAST_WIDTH or width > _LONGEST_MAP * height * height:
        raise ConfigError(
            f"model.width={width} makes a map of {height} x {width // height}, and generation.augmenter=diffuasr needs "
            f"one of {_LEAST_WIDTH} values or more, at most {_LONGEST_MAP} times as long as wide: choose a width such "
            "as 64, or another augmenter"
        )
    return height
