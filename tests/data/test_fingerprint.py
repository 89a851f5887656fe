import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from rsir_scale.data.fingerprint import Fingerprint
from rsir_scale.data.sequences import Sequences, offsets_of

User = tuple[list[int], int, int]
users = st.lists(st.tuples(st.lists(st.integers(1, 3), max_size=3), st.integers(0, 3), st.integers(0, 3)), max_size=4)
words = st.lists(st.text(alphabet="ab", max_size=2), min_size=1, max_size=3)


def digest(content: list[User], user_ids: list[str], item_ids: list[str], truncation: int, batch: int = 99) -> str:
    fingerprint = Fingerprint()
    for first in range(0, len(content), batch):
        rows = content[first : first + batch]
        items = np.array([item for row in rows for item in row[0]], dtype=np.int32)
        training = Sequences(np.arange(first, first + len(rows)), offsets_of([len(row[0]) for row in rows]), items)
        validation, test = (np.array([row[at] for row in rows], dtype=np.int32) for at in (1, 2))
        fingerprint.update(training, validation, test)
    return fingerprint.hexdigest(
        user_ids=pl.Series(user_ids, dtype=pl.String),
        item_ids=pl.Series(item_ids, dtype=pl.String),
        truncation=truncation,
    )


@given(users, words, words, st.integers(1, 3))
def test_batches_leave_no_trace(content: list[User], user_ids: list[str], item_ids: list[str], batch: int) -> None:
    assert digest(content, user_ids, item_ids, 50, batch) == digest(content, user_ids, item_ids, 50)


@given(st.tuples(users, words, words, st.integers(3, 5)), st.tuples(users, words, words, st.integers(3, 5)))
def test_equal_fingerprints_mean_equal_content(
    one: tuple[list[User], list[str], list[str], int], other: tuple[list[User], list[str], list[str], int]
) -> None:
    assert (digest(*one) == digest(*other)) == (one == other)


def test_each_part_of_the_content_counts() -> None:
    contents: list[tuple[list[User], list[str], list[str], int]] = [
        ([([1, 2], 3, 1), ([2], 0, 0)], ["u", "v"], ["a", "b", "c"], 50),
        ([([2, 1], 3, 1), ([2], 0, 0)], ["u", "v"], ["a", "b", "c"], 50),
        ([([1], 3, 1), ([2, 2], 0, 0)], ["u", "v"], ["a", "b", "c"], 50),
        ([([1, 2], 1, 1), ([2], 0, 0)], ["u", "v"], ["a", "b", "c"], 50),
        ([([1, 2], 3, 2), ([2], 0, 0)], ["u", "v"], ["a", "b", "c"], 50),
        ([([1, 2], 3, 1), ([2], 0, 0)], ["v", "u"], ["a", "b", "c"], 50),
        ([([1, 2], 3, 1), ([2], 0, 0)], ["u", "v"], ["ab", "", "c"], 50),
        ([([1, 2], 3, 1), ([2], 0, 0)], ["u", "v"], ["a", "b", "c"], 51),
    ]
    assert len({digest(*content) for content in contents}) == len(contents)
