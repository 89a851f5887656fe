"""What DiffuASR may be set to."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from rsir_scale.augmenters.diffuasr.options import DiffuASROptions, map_height
from rsir_scale.errors import ConfigError


@pytest.mark.parametrize(
    "outside",
    [
        {"items": 0},
        {"items": 65},
        {"items": True},
        {"shorter_than": 0},
        {"least_context": 0},
        {"guidance": "none"},
        {"guidance_scale": -0.1},
        {"guidance_scale": float("inf")},
        {"drop_condition": 1.0},
        {"drop_condition": -0.1},
        {"steps": 49},
        {"steps": 100_001},
        {"sampling_steps": 0},
        {"sampling_steps": 1001},
        {"channels": 0},
        {"channels": 12},
        {"channels": 1032},
        {"dropout": 1.0},
        {"learning_rate": 0.0},
        {"batch_size": 0},
        {"epochs": 0},
        {"patience": 0},
        {"leaky": True},
    ],
    ids=str,
)
def test_an_option_outside_its_range_is_refused(outside: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        DiffuASROptions.model_validate(outside)


@given(st.integers(8, 1024))
def test_a_map_holds_the_whole_vector_and_no_divisor_makes_it_squarer(width: int) -> None:
    heights = [side for side in range(1, width + 1) if width % side == 0 and side * side <= width]
    if width <= 4 * heights[-1] ** 2:
        assert map_height(width) == heights[-1]
    else:
        with pytest.raises(ConfigError, match=f"model.width={width} makes a map of {heights[-1]} x"):
            map_height(width)


@pytest.mark.parametrize(("width", "height"), [(64, 8), (128, 8), (50, 5), (8, 2)])
def test_the_map_of_a_usual_width(width: int, height: int) -> None:
    assert map_height(width) == height


@pytest.mark.parametrize("width", [1, 4, 7, 61])
def test_a_width_without_a_map_is_refused_with_a_way_out(width: int) -> None:
    with pytest.raises(ConfigError, match=r"choose a width such as 64"):
        map_height(width)
