"""The ranks of a study's models, user by user, ready to be compared.

Comes in: finished cells. Goes out: for a dataset, a name and an iteration, the ranks of all users under each
seed. Ranks are those that runs keep; nothing is scored again.

Shapes: S seeds, U users.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from rsir_scale.data.schema import SEQUENCE_ID
from rsir_scale.data.sequences import numbers_of
from rsir_scale.evaluation.metrics import per_user
from rsir_scale.runs.evaluated import TEST_RANK, VALIDATION_RANK, ranks_of
from rsir_scale.runs.manifest import read_chain
from rsir_scale.storage.base import Store

TEST, VALIDATION = "test", "validation"
_COLUMNS = {TEST: TEST_RANK, VALIDATION: VALIDATION_RANK}
Ranks_SU = npt.NDArray[np.int64]
Values_SU = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Series:
    """One arm, control or base of a dataset: its runs by seed, of which each iteration is a model."""

    stores: dict[int, Store]

    @cached_property
    def last(self) -> int:
        """The last iteration that all of them have."""
        return min(len(read_chain(store)) for store in self.stores.values()) - 1

    def values(self, *, seeds: Sequence[int], iteration: int, split: str, name: str) -> Values_SU:
        """A metric such as NDCG@10 of each user under each seed. Raises IntegrityError."""
        metric, _, cutoff = name.partition("@")
        ranks_SU = np.stack([self._ranks(seed, iteration, split) for seed in seeds])
        return per_user(ranks_SU, metric=metric, cutoff=int(cutoff))

    def test_ids(self, seed: int) -> npt.NDArray[np.int64]:
        """Sequence ids of the users with a test item, in the order of their ranks."""
        table = self._table(seed, 0)
        ids: npt.NDArray[np.int64] = numbers_of(table.filter(table.column(TEST_RANK).is_valid()).column(SEQUENCE_ID))
        return ids

    def _ranks(self, seed: int, iteration: int, split: str) -> npt.NDArray[np.int64]:
        column = self._table(seed, iteration).column(_COLUMNS[split])
        ranks: npt.NDArray[np.int64] = numbers_of(column.drop_null())
        return ranks

    def _table(self, seed: int, iteration: int) -> pa.Table:
        key = seed, iteration
        if key not in self._tables:
            self._tables[key] = ranks_of(self.stores[seed], iteration)
        return self._tables[key]

    @cached_property
    def _tables(self) -> dict[tuple[int, int], pa.Table]:
        """Tables that were read: a report asks for each metric in turn."""
        return {}


def common_seeds(one: Series, other: Series) -> tuple[int, ...]:
    """Seeds under which both are finished, ascending."""
    return tuple(sorted(one.stores.keys() & other.stores.keys()))
