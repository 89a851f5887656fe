import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsir_scale.data.kcore import k_core
from tests.data.logs import Interaction, interactions, naive_core


@given(interactions(), st.integers(0, 5), st.integers(1, 40))
def test_core_is_what_dropping_in_turn_comes_to(rows: list[Interaction], min_count: int, batch: int) -> None:
    users, user_codes = np.unique([row[0] for row in rows], return_inverse=True)
    items, item_codes = np.unique([row[1] for row in rows], return_inverse=True)
    user_stays, item_stays = k_core(
        lambda: ((user_codes[at : at + batch], item_codes[at : at + batch]) for at in range(0, len(rows), batch)),
        users=len(users),
        items=len(items),
        min_count=min_count,
    )
    kept = naive_core(rows, min_count)
    assert set(users[user_stays]) == {row[0] for row in kept}
    assert set(items[item_stays]) == {row[1] for row in kept}


def test_repeats_count_as_interactions() -> None:
    codes = np.zeros(5, dtype=np.int64)
    user_stays, item_stays = k_core(lambda: [(codes, codes)], users=1, items=1, min_count=5)
    assert user_stays.all()
    assert item_stays.all()


@pytest.mark.parametrize("length", [3, 40])
def test_a_chain_of_dependencies_unravels_to_its_end(length: int) -> None:
    # User u has items u and u + 1; only the ends are below 2, but each drop makes the next.
    users = np.repeat(np.arange(length), 2)
    items = np.stack([np.arange(length), np.arange(length) + 1], axis=1).reshape(-1)
    user_stays, item_stays = k_core(lambda: [(users, items)], users=length, items=length + 1, min_count=2)
    assert not user_stays.any()
    assert not item_stays.any()
