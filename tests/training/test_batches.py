"""A pass deals each row once, in an order that its key alone decides, into batches that pad little."""

import subprocess
import sys

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rsir_scale.training.batches import make_batch, pass_batches, trainable_rows, updates_per_pass
from tests.training.market import sequences_of

LENGTHS = st.lists(st.integers(1, 12), min_size=1, max_size=120)


def _pass(lengths: list[int], batch_size: int, number: int = 0) -> list[list[int]]:
    column = np.array(lengths, dtype=np.int64)
    batches = pass_batches(column, np.arange(len(lengths)), batch_size=batch_size, key=(7, 1, number))
    return [batch.tolist() for batch in batches]


@given(lengths=LENGTHS, batch_size=st.integers(1, 9))
def test_a_pass_deals_each_row_once_in_full_batches(lengths: list[int], batch_size: int) -> None:
    batches = _pass(lengths, batch_size)
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    assert len(batches) == updates_per_pass(len(lengths), batch_size)
    assert sorted(len(batch) for batch in batches)[1:] == [batch_size] * (len(batches) - 1)


def test_each_pass_has_its_own_order() -> None:
    assert _pass([3] * 100, 4, number=0) == _pass([3] * 100, 4, number=0)
    assert _pass([3] * 100, 4, number=0) != _pass([3] * 100, 4, number=1)


def test_another_process_deals_the_same_batches() -> None:
    code = "from tests.training.test_batches import _pass; print(_pass([1 + i % 7 for i in range(90)], 8))"
    paths = [path for path in sys.path if path]
    told = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {paths!r}; {code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.strip() == str(_pass([1 + i % 7 for i in range(90)], 8))


def test_batches_pad_little_and_their_lengths_come_in_random_order() -> None:
    lengths = np.random.default_rng(0).integers(1, 50, 4000)
    batches = pass_batches(lengths, np.arange(4000), batch_size=16, key=(1, 0, 0))
    padded = sum(int(lengths[batch].max()) * len(batch) for batch in batches)
    # Random batches of 16 pad to 1.9 times the items.
    assert padded < 1.15 * lengths.sum()
    means = np.array([lengths[batch].mean() for batch in batches])
    assert abs(np.corrcoef(means[1:], means[:-1])[0, 1]) < 0.3


@given(
    rows=st.lists(st.lists(st.integers(1, 99), min_size=2, max_size=8), min_size=1, max_size=8),
    max_length=st.integers(1, 9),
)
def test_a_batch_predicts_each_latest_item_from_the_one_before(rows: list[list[int]], max_length: int) -> None:
    weights = np.arange(1, len(rows) + 1, dtype=np.float32)
    batch = make_batch(sequences_of(rows), np.arange(len(rows))[::-1].copy(), max_length=max_length, weights=weights)
    for place, row in enumerate(reversed(rows)):
        latest = row[-(max_length + 1) :]
        blank = [0] * (batch.context_BL.shape[1] - len(latest) + 1)
        assert batch.context_BL[place].tolist() == latest[:-1] + blank
        assert batch.target_BL[place].tolist() == latest[1:] + blank
    assert batch.weight_B.tolist() == weights[::-1].tolist()
    assert batch.context_BL.shape[1] == min(max_length, max(len(row) for row in rows) - 1)


def test_rows_without_a_pair_are_not_trained_on() -> None:
    assert trainable_rows(sequences_of([[1], [1, 2], [], [3, 4, 5]])).tolist() == [1, 3]
