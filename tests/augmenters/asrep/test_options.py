"""Options that cannot work are refused, each by its name."""

import pytest
from pydantic import ValidationError

from rsir_scale.augmenters.asrep.options import AsrepOptions

REFUSED: list[dict[str, object]] = [
    {"items": 0},
    {"items": True},
    {"shorter_than": 1},
    {"epochs": 0},
    {"patience": 0},
    {"learning_rate": 0.0},
    {"width": 0},
    {"blocks": 0},
    {"heads": 3},
    {"dropout": 1.0},
    {"length": 30},
    {"leaky": True},
]


@pytest.mark.parametrize("fault", REFUSED, ids=str)
def test_an_option_outside_its_range_is_refused(fault: dict[str, object]) -> None:
    with pytest.raises(ValidationError) as error:
        AsrepOptions.model_validate(fault)
    assert {found["loc"] for found in error.value.errors()} == {tuple(fault)}


def test_the_longest_context_must_be_read_whole() -> None:
    assert AsrepOptions(items=15, shorter_than=18, length=31).length == 31
    with pytest.raises(ValidationError, match="contexts of 31 items"):
        AsrepOptions(items=15, shorter_than=18, length=30)
