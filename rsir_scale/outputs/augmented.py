"""D_k with names and times: the training data of an iteration, one file of it at a time.

Comes in: a run, its dataset and k. Goes out: groups of sequences, each with user ids, source users and times. A
synthetic sequence is named `<user>~<sequence_id>` after the user it descends from (with more `~` where a user of the
log has such a name). It gets times of its own, evenly from that user's first training time on, strictly rising and
below the first held-out one: so it never looks newer than what must be predicted. No held-out item is read for it.
A sequence that replaces a user's own keeps that user's id. Of the others a share may be taken alone; whether one is
among them depends on its id and nothing else.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl

from rsir_scale.data import schema
from rsir_scale.data.dataset import Sequences, from_arrow
from rsir_scale.data.sequences import Float64Array, Int64Array, flatten_lists
from rsir_scale.randomness import Purpose, uniforms
from rsir_scale.runs import layout
from rsir_scale.runs.columns import SOURCE_SEQUENCE_ID
from rsir_scale.runs.lineage import SequenceFile, part_files, read_columns, read_omitted, stream, training_files
from rsir_scale.runs.manifest import read_chain
from rsir_scale.runs.owners import Owners, kept_rows, owners
from rsir_scale.runs.run import Run
from rsir_scale.steps import Tell, counted, silent

_ULPS_APART = 16


@dataclass(frozen=True, eq=False)
class Group:
    """Some sequences of D_k.

    Attributes:
        sequences: N sequences of item indices.
        user_ids: String[N], unique in D_k.
        sources: int64[N], the user that each descends from: itself, for a real one.
        iteration: that wrote them; None for real ones.
        times: float64, aligned with `sequences.items`; positions 0.. where the log has no times.
    """

    sequences: Sequences
    user_ids: pl.Series
    sources: Int64Array
    iteration: int | None
    times: Float64Array


class AugmentedData:
    """Reads D_k of a run; `user_ids` and `item_ids` are the log's own, item j at j - 1.

    Args:
        run: the run.
        iteration: k.
        synthetic_share: about as many synthetic sequences for each real one, or all, where there are fewer; None: all.
        tell: is told how many files are read.
    """

    def __init__(self, run: Run, iteration: int, *, synthetic_share: float | None = None, tell: Tell = silent) -> None:
        self._tell = tell
        self.dataset = dataset = run.dataset
        self.user_ids = pl.Series(dataset.user_ids(), dtype=pl.String)
        self.item_ids = pl.Series(dataset.item_ids(), dtype=pl.String)
        self._run = run
        self._iteration = iteration
        self._separator = _separator(self.user_ids)
        self._files = training_files(run, iteration)
        omitted = read_omitted(run.store, [file for file in self._files if file.where == "dataset"])
        self._replaced = np.concatenate([np.empty(0, np.int64), *omitted.values()])
        self._in_place = _in_place(run, iteration) if len(self._replaced) else self._replaced
        self._seed = run.config.seed
        written = sum(manifest.generation.rows for manifest in read_chain(run.store)[:iteration] if manifest.generation)
        wanted = None if synthetic_share is None else synthetic_share * dataset.meta.users
        self._kept_share = 1.0 if wanted is None else min(1.0, wanted / max(1, written))

    def groups(self) -> Iterator[Group]:
        """The real sequences, then those of each iteration, file by file.

        Raises:
            IntegrityError: a file of the run is damaged.
        """
        report = counted(self._tell, "exporting", len(self._files), "file")
        for number, group in enumerate(self._groups(), start=1):
            yield group
            report(number)

    def _groups(self) -> Iterator[Group]:
        users = self.dataset.meta.users
        first, until = np.zeros(users), np.zeros(users)
        for group in self._real():
            if self.dataset.meta.has_times:
                offsets = group.sequences.offsets
                first[group.sources] = group.times[offsets[:-1]]
                until[group.sources] = group.times[offsets[1:] - 1]
            yield self._still_there(group)
        if self.dataset.meta.has_times:
            validation, _ = self.dataset.held_out_times()
            until = np.where(np.isnan(validation), until, validation)
        known = owners(self._run, self._iteration)
        for iteration in range(self._iteration):
            for sequences in stream(self._run, self._written(iteration)):
                yield self._synthetic(self._taken(sequences), known, iteration, (first, until))

    def _written(self, iteration: int) -> list[SequenceFile]:
        prefix = f"{layout.folder(iteration)}/"
        return [file for file in self._files if file.where == "run" and file.key.startswith(prefix)]

    def _real(self) -> Iterator[Group]:
        """The users' own sequences, also those that rows replaced: their times are those of the rows' users."""
        files = self.dataset.store
        columns = [schema.SEQUENCE_ID, schema.ITEMS] + ([schema.TIMES] if self.dataset.meta.has_times else [])
        for file in self.dataset.training_files():
            table = read_columns(files, file.path, columns, expected=file.rows, bounds=self.dataset.bounds)
            sequences = from_arrow(table)
            times = positions(sequences).astype(np.float64)
            if self.dataset.meta.has_times:
                times = flatten_lists(table.column(schema.TIMES))[1]
            yield Group(sequences, self.user_ids.gather(sequences.ids), sequences.ids, None, times)

    def _still_there(self, group: Group) -> Group:
        """Those of some users' own sequences that no row replaced."""
        stays = ~np.isin(group.sources, self._replaced)
        rows, times = np.flatnonzero(stays), group.times[np.repeat(stays, group.sequences.lengths)]
        return Group(group.sequences.select(rows), group.user_ids.gather(rows), group.sources[rows], None, times)

    def _taken(self, sequences: Sequences) -> Sequences:
        if self._kept_share == 1.0:
            return sequences
        drawn = uniforms(self._seed, sequences.ids, Purpose.EXPORT) < self._kept_share
        return sequences.select(np.flatnonzero(drawn | np.isin(sequences.ids, self._in_place)))

    def _synthetic(
        self, sequences: Sequences, known: Owners, iteration: int, window: tuple[Float64Array, Float64Array]
    ) -> Group:
        sources = known.of(sequences.ids)
        ids = pl.Series(sequences.ids).cast(pl.String)
        times = positions(sequences).astype(np.float64)
        if self.dataset.meta.has_times:
            times = spread_times(window[0][sources], window[1][sources], sequences)
        users = self.user_ids.gather(sources)
        in_place = pl.Series(np.isin(sequences.ids, self._in_place))
        names = pl.select(pl.when(in_place).then(users).otherwise(users + self._separator + ids)).to_series()
        return Group(sequences, names, sources, iteration, times)


def _in_place(run: Run, until: int) -> Int64Array:
    """Ids of the rows that stand in place of a user's own sequence, or of a row that does: the first row of each."""
    found = np.empty(0, dtype=np.int64)
    for manifest in read_chain(run.store)[:until]:
        if manifest.generation is None or not manifest.generation.replaced:
            continue
        for table in kept_rows(run.store, part_files(manifest.files), [schema.SEQUENCE_ID, SOURCE_SEQUENCE_ID]):
            ids, source = (table.column(number).to_numpy() for number in range(2))
            # A source's rows are all in one part, by rising trial, and any trial may have left none that is kept.
            source, first = np.unique(source, return_index=True)
            own = (source < run.dataset.meta.users) | np.isin(source, found)
            found = np.concatenate([found, ids[first[own]]])
    return found


def positions(sequences: Sequences) -> Int64Array:
    """Each item's position in its sequence, from 0."""
    return np.arange(len(sequences.items)) - np.repeat(sequences.offsets[:-1], sequences.lengths)


def spread_times(first: Float64Array, until: Float64Array, sequences: Sequences) -> Float64Array:
    """Times of each sequence's items: from `first` on, evenly, strictly rising, all below `until`.

    Where there is no room between the two (a user whose interactions all have one time), they lie one unit apart and
    begin as much earlier as that takes.

    Args:
        first: float64[N], where each sequence should begin.
        until: float64[N], what all its times stay below.
        sequences: N sequences.
    """
    lengths = np.maximum(sequences.lengths, 1)
    finest = _ULPS_APART * np.spacing(np.maximum(np.abs(first), np.abs(until)))
    step = (until - first) / lengths
    step = np.where(step > finest, step, np.maximum(1.0, finest))
    # Counted back from the end, so that no rounding can reach it.
    back = np.repeat(lengths, sequences.lengths) - positions(sequences)
    return np.asarray(np.repeat(until, sequences.lengths) - back * np.repeat(step, sequences.lengths))


def _separator(user_ids: pl.Series) -> str:
    """As many `~` as it takes for no user id to look like a synthetic one."""
    separator = "~"
    while user_ids.str.contains(f"{separator}[0-9]+$").any():
        separator += "~"
    return separator
