"""A pass deals each row once, in an order that its key alone decides; a batch is a fair sample of it."""

import subprocess
import sys

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rsir_scale.training.batches import Updates, make_batch, pass_batches, trainable_rows, updates_per_pass
from tests.training.market import sequences_of


def _pass(rows: int, batch_size: int, number: int = 0) -> list[list[int]]:
    return [batch.tolist() for batch in pass_batches(np.arange(rows), batch_size=batch_size, key=(7, 1, number))]


@given(rows=st.integers(1, 120), batch_size=st.integers(1, 9))
def test_a_pass_deals_each_row_once_in_full_batches(rows: int, batch_size: int) -> None:
    batches = _pass(rows, batch_size)
    assert sorted(row for batch in batches for row in batch) == list(range(rows))
    assert len(batches) == updates_per_pass(rows, batch_size)
    assert sorted(len(batch) for batch in batches)[1:] == [batch_size] * (len(batches) - 1)


def test_each_pass_has_its_own_order() -> None:
    assert _pass(100, 4, number=0) == _pass(100, 4, number=0)
    assert _pass(100, 4, number=0) != _pass(100, 4, number=1)


def test_another_process_deals_the_same_batches() -> None:
    code = "from tests.training.test_batches import _pass; print(_pass(90, 8))"
    paths = [path for path in sys.path if path]
    told = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {paths!r}; {code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.strip() == str(_pass(90, 8))


def test_long_sequences_come_in_the_same_batches_as_short_ones() -> None:
    # Dealt by length, a target of a short sequence would weigh more than one of a long sequence.
    lengths = np.where(np.arange(4000) % 10, 3, 40)
    shares = [lengths[batch] == 40 for batch in pass_batches(np.arange(4000), batch_size=100, key=(1, 0, 0))]
    assert all(1 <= share.sum() <= 25 for share in shares)


def _updates(real: int, synthetic: int, *, share: float | None, batch_size: int = 4, iteration: int = 1) -> Updates:
    return Updates(
        sequences_of([[1, 2]] * (real + synthetic)),
        real_count=real,
        batch_size=batch_size,
        synthetic_share=share,
        identity=(3, iteration),
    )


@given(real=st.integers(1, 40), synthetic=st.integers(0, 60), share=st.sampled_from([None, 0.2, 1.0, 2.5]))
def test_a_pass_brings_each_real_sequence_once_and_synthetic_ones_by_their_share(
    real: int, synthetic: int, share: float | None
) -> None:
    updates, length = _updates(real, synthetic, share=share), updates_per_pass(real, 4)
    if share is None:
        length = updates_per_pass(real + synthetic, 4)
    for number in range(2):
        rows = np.concatenate([updates.rows(number * length + index) for index in range(length)])
        assert len(set(rows.tolist())) == len(rows)
        assert sorted(rows[rows < real].tolist()) == list(range(real))
        expected = synthetic if share is None else min(synthetic, round(share * real))
        assert (rows >= real).sum() == expected


@given(real=st.integers(1, 40), share=st.sampled_from([0.5, 1.0, 2.0]))
def test_synthetic_sequences_leave_the_real_ones_of_an_update_as_they_are(real: int, share: float) -> None:
    alone, mixed = _updates(real, 0, share=None), _updates(real, 2 * real, share=share)
    for update in range(2 * updates_per_pass(real, 4)):
        rows = mixed.rows(update)
        assert rows[rows < real].tolist() == alone.rows(update).tolist()
        assert abs((rows >= real).sum() - share * (rows < real).sum()) <= 1


def test_each_pass_draws_its_synthetic_sequences_anew_and_any_update_can_come_first() -> None:
    first, again = _updates(8, 400, share=1.0), _updates(8, 400, share=1.0)
    passes = [np.concatenate([first.rows(update) for update in (at, at + 1)]) for at in (0, 2)]
    assert set(passes[0][passes[0] >= 8].tolist()) != set(passes[1][passes[1] >= 8].tolist())
    assert again.rows(3).tolist() == first.rows(3).tolist()


@given(
    rows=st.lists(st.lists(st.integers(1, 99), min_size=2, max_size=8), min_size=1, max_size=8),
    max_length=st.integers(1, 9),
)
def test_a_batch_predicts_each_latest_item_from_the_one_before(rows: list[list[int]], max_length: int) -> None:
    weights = np.arange(1, len(rows) + 1, dtype=np.float32)
    batch = make_batch(sequences_of(rows), np.arange(len(rows))[::-1].copy(), max_length=max_length, weights=weights)
    backwards = rows[::-1]
    shortest_first = sorted(backwards, key=lambda row: min(len(row), max_length + 1))
    for place, row in enumerate(shortest_first):
        latest = row[-(max_length + 1) :]
        blank = [0] * (batch.contexts.context_BL.shape[1] - len(latest) + 1)
        assert batch.contexts.context_BL[place].tolist() == latest[:-1] + blank
        assert batch.target_BL[place].tolist() == latest[1:] + blank
    assert sorted(batch.weight_B.tolist()) == weights.tolist()
    assert all(rows[int(weight) - 1] == row for weight, row in zip(batch.weight_B, shortest_first, strict=True))
    assert batch.contexts.context_BL.shape[1] == min(max_length, max(len(row) for row in rows) - 1)


def test_rows_without_a_pair_are_not_trained_on() -> None:
    assert trainable_rows(sequences_of([[1], [1, 2], [], [3, 4, 5]])).tolist() == [1, 3]
