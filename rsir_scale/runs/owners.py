"""Whose log a written sequence descends from, and how often one guessed its user's held-out item.

Comes in: the committed rows of earlier iterations. Goes out: for each kept row the user at the root of its chain of
sources (a source may itself have been written), and two counts. The counts tell how much of a gain could be the model's
own guesses of the answers; nothing is ever selected by them, and no row is changed here.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from rsir_scale.data.dataset import HeldOut, from_arrow
from rsir_scale.data.schema import ITEMS, SEQUENCE_ID
from rsir_scale.data.sequences import Int32Array, Int64Array
from rsir_scale.errors import IntegrityError
from rsir_scale.runs.columns import SOURCE_SEQUENCE_ID, START_LENGTH
from rsir_scale.runs.lineage import SequenceFile, committed_files, kept_ids, part_files, read_columns, read_omitted
from rsir_scale.runs.records import FileEntry
from rsir_scale.runs.run import Run
from rsir_scale.storage.base import Store

VALIDATION_HITS = "heldout_validation_hits"
TEST_HITS = "heldout_test_hits"


@dataclass(frozen=True, eq=False)
class Owners:
    """The user behind each kept synthetic row.

    Attributes:
        real_count: users of the dataset; a sequence id below it is a user's own.
        ids: int64[N], kept synthetic sequence ids, ascending.
        users: int64[N], the user (0..real_count-1) that the row of the same place descends from.
    """

    real_count: int
    ids: Int64Array
    users: Int64Array

    def of(self, sequence_ids: Int64Array) -> Int64Array:
        """The users of sequences, real or written, in the order given.

        Raises:
            IntegrityError: an id belongs to no kept row of these iterations.
        """
        found = sequence_ids.astype(np.int64, copy=True)
        written = np.flatnonzero(~self._real(sequence_ids))
        places = np.searchsorted(self.ids, sequence_ids[written])
        known = places < len(self.ids)
        known[known] = self.ids[places[known]] == sequence_ids[written[known]]
        if not known.all():
            raise IntegrityError(
                f"source sequence {sequence_ids[written[~known]][0]} is neither a user nor a kept row of an earlier "
                "iteration: the part that names it was changed; restore it"
            )
        found[written] = self.users[places]
        return found

    def _real(self, sequence_ids: Int64Array) -> npt.NDArray[np.bool_]:
        return (sequence_ids >= 0) & (sequence_ids < self.real_count)


def owners(run: Run, through_iteration: int) -> Owners:
    """Resolve every kept row of the iterations before `through_iteration` to its user.

    Raises:
        IntegrityError: a manifest or part is missing or damaged, or a row names a source that does not exist.
    """
    none = np.empty(0, dtype=np.int64)
    known = Owners(run.dataset.meta.users, none, none)
    for iteration in range(through_iteration):
        files = committed_files(run.store, iteration)
        tables = list(kept_rows(run.store, files, [SEQUENCE_ID, SOURCE_SEQUENCE_ID]))
        ids = np.concatenate([none, *(_integers(table, SEQUENCE_ID) for table in tables)])
        users = np.concatenate([none, *(known.of(_integers(table, SOURCE_SEQUENCE_ID)) for table in tables)])
        order = np.argsort(ids, kind="stable")
        # Ids of an iteration lie above those of the iterations before it, so the whole stays sorted.
        known = Owners(
            known.real_count, np.concatenate([known.ids, ids[order]]), np.concatenate([known.users, users[order]])
        )
    return known


def held_out_hits(run: Run, iteration: int, files: Sequence[FileEntry]) -> dict[str, int]:
    """Count the kept rows of an iteration whose generated items hold the user's validation or test item.

    Args:
        iteration: its earlier iterations must have manifests; it need not have one itself.
        files: what settling gave: the iteration's parts and its dropped ids among them.

    Returns:
        `heldout_validation_hits` and `heldout_test_hits`, for the counters of the manifest.

    Raises:
        IntegrityError: a part is damaged, or a row names a source that does not exist.
    """
    held_out, known = run.dataset.held_out(), owners(run, iteration)
    hits = np.zeros(2, dtype=np.int64)
    columns = [SEQUENCE_ID, ITEMS, SOURCE_SEQUENCE_ID, START_LENGTH]
    for table in kept_rows(run.store, part_files(files), columns):
        hits += _hits(table, known, held_out)
    return {VALIDATION_HITS: int(hits[0]), TEST_HITS: int(hits[1])}


def kept_rows(store: Store, files: Sequence[SequenceFile], columns: list[str]) -> Iterator[pa.Table]:
    """Columns (`sequence_id` among them) of a run's parts, one part at a time, without dropped rows."""
    omitted = read_omitted(store, files)
    for file in files:
        table = read_columns(store, file.key, columns, expected=file.rows)
        yield table.filter(pa.array(kept_ids(_integers(table, SEQUENCE_ID), file, omitted)))


def _hits(table: pa.Table, known: Owners, held_out: HeldOut) -> Int64Array:
    sequences = from_arrow(table)
    users = known.of(_integers(table, SOURCE_SEQUENCE_ID))
    positions = np.arange(len(sequences.items)) - np.repeat(sequences.offsets[:-1], sequences.lengths)
    generated = positions >= np.repeat(_integers(table, START_LENGTH), sequences.lengths)
    row = np.repeat(np.arange(len(sequences)), sequences.lengths)

    def rows_with(targets: Int32Array) -> int:
        # A user without a held-out item has 0 there, which no sequence holds.
        return len(np.unique(row[generated & (sequences.items == targets[users][row])]))

    return np.array([rows_with(held_out.validation), rows_with(held_out.test)], dtype=np.int64)


def _integers(table: pa.Table, column: str) -> Int64Array:
    return np.asarray(table.column(column).to_numpy().astype(np.int64))
