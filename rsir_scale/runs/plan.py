"""The shard plan: which source sequences form which shard, settled before anything is generated.

Comes in: the files of D_k and two settings. Goes out: shards as slices of files, stored once and reused on resume. The
plan depends on data and config only, never on how many actors there are, so that a shard's batches, and with them its
floating-point results, are the same for everyone. Positions count every row of the files, dropped duplicates included:
they need no reading, and ids only have to be unique.
"""

import hashlib
from collections.abc import Sequence

from pydantic import Field

from rsir_scale.errors import InputError, IntegrityError
from rsir_scale.runs import layout
from rsir_scale.runs.lineage import SequenceFile, training_files
from rsir_scale.runs.records import Count, Record, Sha256
from rsir_scale.runs.run import Run
from rsir_scale.storage.base import AlreadyExistsError, Store


class Slice(Record):
    """Consecutive rows of one file of the plan."""

    file: Count = Field(description="index into the plan's files")
    first_row: Count
    rows: int = Field(ge=1)


class Shard(Record):
    """The unit of work and of commit."""

    index: Count
    first_position: Count = Field(description="rows of the plan before this shard")
    slices: tuple[Slice, ...]

    @property
    def rows(self) -> int:
        """Rows of its slices; sources are those of them that were not dropped."""
        return sum(piece.rows for piece in self.slices)


class ShardPlan(Record):
    """All shards of one iteration. A synthetic row's id: see `sequence_id`."""

    iteration: Count
    first_sequence_id: Count
    trials_per_sequence: int = Field(ge=1)
    sources_digest: Sha256
    files: tuple[SequenceFile, ...]
    shards: tuple[Shard, ...]

    @property
    def rows(self) -> int:
        """Rows of all shards."""
        return sum(file.rows for file in self.files)

    @property
    def next_sequence_id(self) -> int:
        """The first id that this iteration cannot use."""
        return self.first_sequence_id + self.rows * self.trials_per_sequence

    def is_work_of(self, other: "ShardPlan") -> bool:
        """Whether both cut the same rows alike, wherever the dataset's files lie."""
        return self._without_places() == other._without_places()

    def _without_places(self) -> "ShardPlan":
        files = (file if file.where == "run" else file.model_copy(update={"key": ""}) for file in self.files)
        return self.model_copy(update={"files": tuple(files)})

    def sequence_id(self, shard: Shard, source: int, trial: int) -> int:
        """Id of the row that `trial` of the shard's `source`-th loaded sequence may leave; unique in the run."""
        return self.first_sequence_id + (shard.first_position + source) * self.trials_per_sequence + trial


def make_plan(
    files: Sequence[SequenceFile],
    *,
    iteration: int,
    shard_sources: int,
    trials_per_sequence: int,
    first_sequence_id: int,
) -> ShardPlan:
    """Cut the rows of `files`, one after another, into shards of `shard_sources` rows; the last may be shorter."""
    return ShardPlan(
        iteration=iteration,
        first_sequence_id=first_sequence_id,
        trials_per_sequence=trials_per_sequence,
        sources_digest=_digest(files),
        files=tuple(files),
        shards=tuple(_shards([file.rows for file in files], shard_sources)),
    )


def expected_plan(run: Run, iteration: int, *, trials: int) -> ShardPlan:
    """The plan that data and settings give.

    Args:
        run: its earlier iterations are finished.
        iteration: k.
        trials: m, rows that a source may have.

    Raises:
        IntegrityError: a manifest or the plan of an earlier iteration is missing or damaged.
    """
    store, config = run.store, run.config.generation
    files = training_files(run, iteration)
    if config.sources == "real":
        files = tuple(file for file in files if file.where == "dataset")
    return make_plan(
        files,
        iteration=iteration,
        shard_sources=config.shard_sources,
        trials_per_sequence=trials,
        first_sequence_id=read_plan(store, iteration - 1).next_sequence_id if iteration else run.dataset.meta.users,
    )


def plan_iteration(run: Run, iteration: int, *, trials: int) -> ShardPlan:
    """The plan of an iteration: made and stored the first time, the stored one ever after.

    Raises:
        IntegrityError: the stored plan is damaged, or is not what data and settings give.
    """
    store, plan = run.store, expected_plan(run, iteration, trials=trials)
    try:
        store.create(layout.plan(iteration), plan.to_bytes())
    except AlreadyExistsError:
        stored = read_plan(store, iteration)
        if not stored.is_work_of(plan):
            raise IntegrityError(
                f"{store.root}/{layout.plan(iteration)} is not the plan that this dataset and these settings give: "
                "restore it, or start again in an empty run directory"
            ) from None
        return stored
    return plan


def check_files(run: Run) -> None:
    """See that a dataset's training files are those that the run was planned on, once it was.

    Raises:
        InputError: the same sequences lie in other files, which no plan of this run names.
        IntegrityError: the first plan is damaged.
    """
    store, dataset = run.store, run.dataset
    if not store.exists(layout.plan(0)):
        return
    planned = {file.sha256 for file in read_plan(store, 0).files if file.where == "dataset"}
    if planned != {file.sha256 for file in dataset.training_files()}:
        raise InputError(
            f"{dataset.path} holds the sequences that {store.root} was planned on, but in other files: it was imported "
            "again, with other times or other versions. Put back a copy of the dataset as it was, or name another run "
            "directory"
        )


def read_plan(store: Store, iteration: int) -> ShardPlan:
    """The stored plan. Raises ObjectMissingError, IntegrityError."""
    key = layout.plan(iteration)
    return ShardPlan.from_bytes(store.read(key), f"{store.root}/{key}")


def _shards(rows_of_files: Sequence[int], shard_sources: int) -> list[Shard]:
    shards: list[Shard] = []
    slices: list[Slice] = []
    first_position = filled = 0
    for index, rows in enumerate(rows_of_files):
        row = 0
        while row < rows:
            taken = min(rows - row, shard_sources - filled)
            slices.append(Slice(file=index, first_row=row, rows=taken))
            row, filled = row + taken, filled + taken
            if filled == shard_sources:
                shards.append(Shard(index=len(shards), first_position=first_position, slices=tuple(slices)))
                first_position, filled, slices = first_position + filled, 0, []
    if slices:
        shards.append(Shard(index=len(shards), first_position=first_position, slices=tuple(slices)))
    return shards


def _digest(files: Sequence[SequenceFile]) -> str:
    """Content of the sources, whatever attempt wrote them and wherever they lie."""
    hasher = hashlib.sha256()
    for file in files:
        without = " ".join(omitted.sha256 for omitted in file.without)
        hasher.update(f"{file.where} {file.rows} {file.sha256} {without}\n".encode())
    return hasher.hexdigest()
