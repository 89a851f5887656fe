from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rsir_scale.data.dataset import open_dataset
from rsir_scale.data.synthetic import Market, synthesize
from rsir_scale.errors import InputError


@settings(max_examples=15)
@given(st.integers(1, 40), st.integers(5, 200), st.integers(0, 2**63 - 1), st.integers(1, 50))
def test_a_market_does_not_depend_on_the_shard_size(
    tmp_path_factory: pytest.TempPathFactory, users: int, items: int, seed: int, shard_users: int
) -> None:
    folder = tmp_path_factory.mktemp("markets")
    one = synthesize(users=users, items=items, out=folder / "one", seed=seed)
    many = synthesize(users=users, items=items, out=folder / "many", seed=seed, shard_users=shard_users)
    assert one.fingerprint == many.fingerprint
    assert (one.users, one.items) == (users, items)
    assert one.repeat_share == 0
    assert 5 <= one.min_length <= one.max_length <= min(50, items)


def test_another_seed_is_another_market(tmp_path: Path) -> None:
    found = {synthesize(users=9, items=90, out=tmp_path / str(seed), seed=seed).fingerprint for seed in range(5)}
    assert len(found) == 5


def test_a_user_stays_the_same_when_the_market_grows(tmp_path: Path) -> None:
    synthesize(users=5, items=70, out=tmp_path / "small", seed=3)
    synthesize(users=50, items=70, out=tmp_path / "large", seed=3)
    small, large = (open_dataset(tmp_path / name).training_sequences() for name in ("small", "large"))
    assert small.items.tolist() == large.select(np.arange(5)).items.tolist()


def test_the_last_item_tells_more_about_the_next_than_popularity_does(tmp_path: Path) -> None:
    synthesize(users=4000, items=500, out=tmp_path / "market", seed=0)
    market = open_dataset(tmp_path / "market")
    training, held_out = market.training_sequences(), market.held_out()
    popular = np.argsort(-np.bincount(training.items, minlength=501))[:10]
    follows = np.zeros((501, 501))
    inside = np.ones(len(training.items), dtype=bool)
    inside[training.offsets[1:] - 1] = False
    at = np.flatnonzero(inside)
    np.add.at(follows, (training.items[at], training.items[at + 1]), 1)
    likely = np.argsort(-follows, axis=1)[:, :10]
    by_popularity = np.isin(held_out.test, popular).mean()
    by_last_item = (likely[held_out.validation] == held_out.test[:, None]).any(axis=1).mean()
    assert by_last_item > 2 * by_popularity > 0


def test_the_planted_preferences_call_what_is_drawn_from_the_whole_market_noise(tmp_path: Path) -> None:
    market = Market(4000, 3)
    users = np.arange(300)
    found = market.sequences(users)
    user = np.repeat(users, found.lengths)
    starts = np.isin(np.arange(len(found.items)), found.offsets[:-1])
    before = np.where(starts, 0, np.roll(found.items, 1)).astype(np.int64)
    items = found.items.astype(np.int64)
    # A step in twenty is drawn from the whole market, and some stand in for what was seen already.
    assert 0.90 < market.prefers(user, before, items).mean() < 0.97
    anything = np.random.default_rng(0).integers(1, 4001, len(items))
    assert market.prefers(user, before, anything).mean() < 0.06
    assert Market(4000, 4).prefers(user, before, items).mean() < 0.25


@pytest.mark.parametrize(
    ("name", "value"), [("users", 0), ("items", 4), ("items", 2**31), ("seed", -1), ("shard_users", 0)]
)
def test_a_figure_out_of_range_is_refused(tmp_path: Path, name: str, value: int) -> None:
    figures = {"users": 3, "items": 9, "seed": 1, "shard_users": 2} | {name: value}
    with pytest.raises(InputError, match=f"{name}={value}"):
        synthesize(out=tmp_path / "market", **figures)
    assert list(tmp_path.iterdir()) == []
