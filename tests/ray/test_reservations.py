"""What a broken fit leaves reserved is let go before the next one begins."""

import pytest
import ray
from ray.util import placement_group, remove_placement_group

from rsir_scale.training.reservations import let_go, reservations

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("cluster")]


def test_what_an_attempt_left_reserved_is_let_go_and_what_was_there_before_stays() -> None:
    kept = placement_group([{"CPU": 1}])
    ray.get(kept.ready())
    before = reservations()
    left = placement_group([{"CPU": 1}] * 2)
    ray.get(left.ready())
    assert len(reservations() - before) == 1
    let_go(before)
    assert reservations() == before
    remove_placement_group(kept)
    assert reservations() < before
