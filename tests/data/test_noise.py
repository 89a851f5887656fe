"""Noise changes training items and nothing else, and each of them by identity alone."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsir_scale.data.dataset import HeldOut, PreparedDataset, Sequences, open_dataset, stats
from rsir_scale.data.noise import add_noise, with_noise
from rsir_scale.data.prepare import prepare
from rsir_scale.data.sequences import offsets_of
from rsir_scale.data.synthetic import synthesize
from rsir_scale.errors import InputError
from tests.data.logs import as_log

ITEMS = 40


@st.composite
def users(draw: st.DrawFn) -> tuple[Sequences, HeldOut]:
    """Up to 8 users of 1..6 training items, most with held-out ones."""
    numbers = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count = draw(st.integers(1, 8))
    lengths = numbers.integers(1, 7, count)
    items = numbers.integers(1, ITEMS + 1, lengths.sum()).astype(np.int32)
    both = np.where(numbers.random(count) < 0.8, numbers.integers(1, ITEMS + 1, (2, count)), 0).astype(np.int32)
    ids = np.arange(count)
    return Sequences(ids, offsets_of(lengths), items), HeldOut(ids, *both)


def _noisy(world: tuple[Sequences, HeldOut], share: float, seed: int = 1) -> Sequences:
    return with_noise(*world, share=share, seed=seed, item_count=ITEMS)


@given(world=users(), seed=st.integers(0, 2**63 - 1))
def test_what_takes_an_items_place_is_none_of_the_users_and_comes_once(
    world: tuple[Sequences, HeldOut], seed: int
) -> None:
    training, held_out = world
    noisy = _noisy(world, 1.0, seed)
    for row in range(len(training)):
        own = {*training.row(row).tolist(), int(held_out.validation[row]), int(held_out.test[row])}
        new = noisy.row(row).tolist()
        assert not own & set(new)
        assert len(set(new)) == len(new)
        assert all(1 <= item <= ITEMS for item in new)


@given(world=users(), keep=st.integers(1, 8), share=st.floats(0, 1))
def test_a_users_noise_does_not_depend_on_who_else_is_there(
    world: tuple[Sequences, HeldOut], keep: int, share: float
) -> None:
    training, held_out = world
    rows = np.arange(len(training))[::-1][:keep]
    alone = training.select(rows), HeldOut(rows, held_out.validation[rows], held_out.test[rows])
    assert _noisy(alone, share).items.tolist() == _noisy(world, share).select(rows).items.tolist()


@given(world=users(), shares=st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_a_greater_share_replaces_what_a_smaller_one_does(
    world: tuple[Sequences, HeldOut], shares: tuple[float, float]
) -> None:
    training, _ = world
    few, many = (_noisy(world, share).items != training.items for share in sorted(shares))
    assert not (few & ~many).any()


def _market(folder: Path, *, with_times: bool) -> PreparedDataset:
    numbers = np.random.default_rng(3)
    rows = [
        (f"u{user}", f"{item}", float(time))
        for user in range(50)
        for time, item in enumerate(numbers.permutation(60)[: 2 + user % 7])
    ]
    prepare(as_log(rows, with_times=with_times), folder, min_count=0)
    return open_dataset(folder)


@pytest.mark.parametrize("with_times", [True, False])
def test_a_noisy_dataset_has_all_that_the_other_has_but_its_training_items(tmp_path: Path, with_times: bool) -> None:
    clean = _market(tmp_path / "clean", with_times=with_times)
    add_noise(clean, tmp_path / "noisy", share=0.3, seed=5)
    noisy = open_dataset(tmp_path / "noisy")
    assert np.array_equal(noisy.training_sequences().offsets, clean.training_sequences().offsets)
    for one, other in zip(vars(noisy.held_out()).values(), vars(clean.held_out()).values(), strict=True):
        assert np.array_equal(one, other)
    assert noisy.user_ids().tolist() == clean.user_ids().tolist()
    assert noisy.item_ids().tolist() == clean.item_ids().tolist()
    if with_times:
        assert np.array_equal(noisy.training_times(), clean.training_times())
        assert np.array_equal(noisy.held_out_times(), clean.held_out_times(), equal_nan=True)
    replaced = int((noisy.training_sequences().items != clean.training_sequences().items).sum())
    told = noisy.meta.noise
    assert told is not None
    assert (told.of, told.share, told.seed, told.replaced) == (clean.meta.fingerprint, 0.3, 5, replaced)
    assert 0.15 < replaced / len(clean.training_sequences().items) < 0.45
    assert noisy.meta.fingerprint != clean.meta.fingerprint


def test_no_noise_gives_the_same_content_under_a_name_of_where_it_came_from(tmp_path: Path) -> None:
    clean = _market(tmp_path / "clean", with_times=True)
    assert add_noise(clean, tmp_path / "same", share=0, seed=0).fingerprint == clean.meta.fingerprint
    assert "noise" in stats(tmp_path / "same")
    assert "noise" not in stats(tmp_path / "clean")


def test_noise_does_not_depend_on_how_a_dataset_is_split_into_files(tmp_path: Path) -> None:
    found = set()
    for shard in (7, 100):
        synthesize(users=30, items=200, out=tmp_path / f"{shard}", seed=1, shard_users=shard)
        found.add(add_noise(open_dataset(tmp_path / f"{shard}"), tmp_path / f"n{shard}", share=0.4, seed=2).fingerprint)
    assert len(found) == 1


@pytest.mark.parametrize(
    ("figures", "named"),
    [({"share": 1.5}, "share=1.5"), ({"share": float("nan")}, "share=nan"), ({"seed": -1}, "seed=-1")],
)
def test_a_figure_out_of_range_is_refused(tmp_path: Path, figures: dict[str, float], named: str) -> None:
    clean = _market(tmp_path / "clean", with_times=False)
    with pytest.raises(InputError, match=named):
        add_noise(clean, tmp_path / "noisy", **({"share": 0.1, "seed": 0} | figures))
    assert not (tmp_path / "noisy").exists()


def test_a_catalogue_that_holds_nothing_else_is_refused(tmp_path: Path) -> None:
    synthesize(users=5, items=5, out=tmp_path / "clean", seed=0)
    with pytest.raises(InputError, match="give a smaller --share"):
        add_noise(open_dataset(tmp_path / "clean"), tmp_path / "noisy", share=1.0, seed=0)
    assert not (tmp_path / "noisy").exists()
