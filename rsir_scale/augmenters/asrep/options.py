"""The options of ASReP and their ranges; the defaults are the authors', where they have such an option.

The authors write 20 items before a sequence and use up to 15 of them, the farthest from it, which leaves a gap of five.
Here the nearest are used. As an item depends on those nearer alone, more than are used need not be written.
"""

from typing import Annotated

from pydantic import Field, ValidationInfo, field_validator

from rsir_scale.config.fitting import NotBool, Positive, PositiveInt, Section, ShareBelowOne, Size


class AsrepOptions(Section):
    """Settings of `augmenter.*` for `generation.augmenter=asrep`."""

    items: Size = Field(default=15, description="items written before a sequence at the most")
    shorter_than: Annotated[int, NotBool, Field(ge=2, le=2**16)] = Field(
        default=18, description="M: sequences with fewer items are extended, to that many at the most"
    )
    targets: bool = Field(
        default=False,
        description="whether training predicts the items written, too, as in the authors' code; else they are context "
        "alone",
    )
    epochs: PositiveInt = Field(default=200, description="passes of the reversed model over its sequences at the most")
    patience: PositiveInt = Field(default=20, description="passes without a better validation NDCG@20")
    learning_rate: Positive = Field(default=1e-3, description="of Adam; its peak, if it changes")
    width: Size = Field(default=128, description="of the reversed model's vectors, and of its feed-forward layers")
    blocks: Size = Field(default=2, description="Transformer blocks of the reversed model")
    heads: Size = Field(default=4, description="attention heads of the reversed model; must divide width")
    dropout: ShareBelowOne = Field(default=0.7, description="share of the reversed model's activations zeroed")
    length: Size = Field(default=100, description="items that the reversed model reads, those nearest to the next one")

    @field_validator("heads")
    @classmethod
    def _heads_divide_width(cls, value: int, info: ValidationInfo) -> int:
        width = info.data.get("width", value)
        if width % value:
            raise ValueError(f"it does not divide augmenter.width={width}: choose one that does")
        return value

    @field_validator("length")
    @classmethod
    def _a_whole_context_is_read(cls, value: int, info: ValidationInfo) -> int:
        longest = info.data.get("shorter_than", 2) - 1
        if value < longest:
            raise ValueError(f"augmenter.shorter_than={longest + 1} makes contexts of {longest} items: raise it")
        return value
