"""An augmenter of the user's own: it turns a source round."""

import numpy as np
from pydantic import ValidationInfo, field_validator

from rsir_scale.augmenters.base import PerSequence
from rsir_scale.config.fitting import PositiveInt, Section
from rsir_scale.data.sequences import Int32Array

NAME = "tests.augmenters.own:Reversed"


class ReversedOptions(Section):
    """Options of `Reversed`."""

    least: PositiveInt = 2


class Reversed(PerSequence):
    """A source of `least` items or more, from its last item to its first."""

    Options = ReversedOptions

    def row(self, items: Int32Array, draws: np.random.Generator) -> Int32Array | None:
        """See `PerSequence.row`."""
        return items[::-1] if len(items) >= self.options.least else None


class NamedOptions(Section):
    """Options of `Named`: one without a default, beside which the default of the other would be refused."""

    most: PositiveInt
    least: PositiveInt = 5

    @field_validator("least")
    @classmethod
    def _is_not_above_most(cls, value: int, info: ValidationInfo) -> int:
        if value > info.data.get("most", value):
            raise ValueError("it is above augmenter.most")
        return value


class Named(Reversed):
    """The same, with options that a user has to set."""

    Options = NamedOptions


class InPlace(Reversed):
    """The same, in place of its source: one row each."""

    replaces_source = True
    fixed_trials = 1


class ShuffledInPlace(PerSequence):
    """A source's items shuffled, in its place; some trials leave no row, the first of a source's among them."""

    replaces_source = True

    def row(self, items: Int32Array, draws: np.random.Generator) -> Int32Array | None:
        """See `PerSequence.row`."""
        return draws.permutation(items) if len(items) > 2 and draws.random() < 0.6 else None
