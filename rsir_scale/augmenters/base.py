"""The contract of an augmenter: a way of writing synthetic sequences from training sequences.

Comes in: a run, an iteration k, and sources, which are sequences of D_k. Goes out: rows (`written.Written`). How they
are written safely (plan, shards, quarantine, processes, commits) is the business of `generation`, how they are verified
that of `verification`: neither knows what an augmenter does. What comes of a source depends on the run, k and that
source alone, never on the sources beside it, their order, the process or the attempt: so a shard may be split,
repeated, or written again to be verified. Every draw is keyed by (seed, k, sequence_id of the source, trial, position,
purpose); `randomness` has the means. Held-out items are out of reach: an augmenter reads training files only.

A process makes one instance for a run and an iteration, and calls `open` before `write` or `recheck`.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa

from rsir_scale.augmenters.part import Part, Rechecked, RowFault, differences, of_no_source, part_table
from rsir_scale.augmenters.written import Written
from rsir_scale.config.fitting import Section
from rsir_scale.config.settings import TRIALS, Config
from rsir_scale.data.dataset import PreparedDataset
from rsir_scale.data.sequences import Int32Array, Sequences, offsets_of
from rsir_scale.randomness import Purpose, generator
from rsir_scale.runs.columns import SOURCE_SEQUENCE_ID, with_evidence
from rsir_scale.runs.dedupe import Repeats, repeats_dropped
from rsir_scale.runs.plan import ShardPlan
from rsir_scale.runs.records import FileEntry
from rsir_scale.runs.run import Run
from rsir_scale.runs.settle import SettleRules

if TYPE_CHECKING:
    from rsir_scale.training.learner import Learner


class NoOptions(Section):
    """The options of an augmenter that has none."""


class Augmenter(ABC):
    """One way of writing sequences.

    Attributes:
        Options: a frozen section of settings, read from `augmenter.*`.
        evidence: columns of its own that its rows carry.
        replaces_source: whether a row stands in D_{k+1} in place of its source, else beside it.
        fixed_trials: rows that a source has at the most; None: `generation.trials_per_sequence`.
        beyond_training_items: whether rows may hold items of the catalogue that occur in no training sequence.
        keeps_copies: whether rows count that repeat a sequence of D_k or one another; else one of them is left.
        not_again: in words, what `recheck` holds those rows to that it does not make again.
    """

    Options: ClassVar[type[Section]] = NoOptions
    evidence: ClassVar[pa.Schema] = pa.schema([])
    replaces_source: ClassVar[bool] = False
    fixed_trials: ClassVar[int | None] = None
    beyond_training_items: ClassVar[bool] = False
    keeps_copies: ClassVar[bool] = False
    not_again: ClassVar[str] = "the hash of their file and the names of their sources; their items were not checked"

    def __init__(self, run: Run, iteration: int, *, device: str = "cpu") -> None:
        """Keep what it works on; reading and allocating wait for `open`."""
        self.run = run
        self.iteration = iteration
        self.device = device
        self.options: Any = self.Options.model_validate(run.config.augmenter)

    @classmethod
    def check(cls, config: Config, dataset: PreparedDataset) -> None:  # noqa: ARG003
        """Refuse, before anything is trained, settings that cannot work on this dataset or this machine.

        Raises:
            ConfigError: value, rule and way out.
        """
        return

    @classmethod
    def trials_of(cls, config: Config, dataset: PreparedDataset) -> int:  # noqa: ARG003
        """m: rows that a source may have."""
        return cls.fixed_trials or config.generation.trials_per_sequence

    @classmethod
    def reads(cls, config: Config) -> frozenset[str]:  # noqa: ARG003
        """Which of `config.settings.READ_BY_SOME` its rows depend on; the manifest tells which others were set."""
        return frozenset({TRIALS}) if cls.fixed_trials is None else frozenset()

    @property
    def trials(self) -> int:
        """M of this run; see `trials_of`."""
        return self.trials_of(self.run.config, self.run.dataset)

    @property
    def settle_rules(self) -> SettleRules:
        """Which of its rows count, and what becomes of their sources."""
        repeats: Repeats = "none" if self.keeps_copies else repeats_dropped(self.run.config.generation)
        return SettleRules(repeats, replaces_source=self.replaces_source)

    @property
    def learns(self) -> bool:
        """Whether something is fitted before `prepare`."""
        return type(self).learner is not Augmenter.learner

    def learner(self) -> "Learner[Any]":
        """Make what is fitted for the iteration, once the shard plan is stored, by the project's own fit.

        `training.learned` publishes the weights and reads them back.
        """
        raise NotImplementedError(f"{type(self).__name__} learns nothing")

    @property
    def prepares(self) -> bool:
        """Whether `prepare` has something to do."""
        return type(self).prepare is not Augmenter.prepare

    def prepare(self, plan: ShardPlan) -> None:  # noqa: ARG002
        """Make what all shards of the iteration need, once: leave it in the run, created only if absent."""
        return

    def files(self) -> list[FileEntry]:
        """What `prepare` left, for the manifest to name."""
        return []

    def facts(self, counters: Mapping[str, int]) -> list[str]:  # noqa: ARG002
        """What a reader of the manifest must know of the iteration's rows, in words."""
        return []

    def open(self) -> None:
        """Load what `write` reads; called once, after `prepare`."""
        return

    @abstractmethod
    def write(self, sources: Sequences) -> Written:
        """Write all rows of some sources, of any length."""

    def recheck(self, part: Part) -> Rechecked:
        """Check a stored part; unless overridden, the chosen rows' sources are written again and compared.

        All rows of these sources are made again, those of other sources are not.
        """
        if part.table.schema.remove_metadata() != with_evidence(self.evidence):
            return Rechecked((RowFault(None, "columns are not those of a part"),), again=0)
        stored_of = part.table.column(SOURCE_SEQUENCE_ID).to_numpy()
        again = ~np.isin(part.sources.ids, part.set_aside)
        if not part.chosen.all():
            again &= np.isin(part.sources.ids, stored_of[part.chosen])
        positions = np.flatnonzero(again)
        sources = part.sources.select(positions)
        expected = part_table(
            self.write(sources),
            sources,
            positions,
            first_id=part.first_id,
            iteration=self.iteration,
            trials=self.trials,
            evidence=self.evidence,
        )
        stored = part.table.filter(pa.array(np.isin(stored_of, sources.ids)))
        faults = (*of_no_source(part), *differences(stored.combine_chunks(), expected))
        return Rechecked(faults, again=stored.num_rows)


class PerSequence(Augmenter):
    """An augmenter that writes one row at a time: the short way to one of your own, as fast as its `row`."""

    @abstractmethod
    def row(self, items: Int32Array, draws: np.random.Generator) -> Int32Array | None:
        """Write one sequence.

        Args:
            items: the source's items, oldest first.
            draws: random numbers of this source and trial alone.

        Returns:
            2 items or more of the catalogue; None where the trial leaves no row.
        """

    def write(self, sources: Sequences) -> Written:
        """See `Augmenter.write`."""
        rows: list[tuple[int, int, Int32Array]] = []
        for source, sequence_id in enumerate(sources.ids):
            for trial in range(self.trials):
                key = (self.run.config.seed, self.iteration, int(sequence_id), trial, Purpose.AUGMENT)
                items = self.row(sources.row(source), generator(*key))
                if items is not None:
                    rows.append((source, trial, items))
        return Written(
            source=np.array([source for source, _, _ in rows], dtype=np.int64),
            trial=np.array([trial for _, trial, _ in rows], dtype=np.int64),
            offsets=offsets_of([len(items) for _, _, items in rows]),
            items=np.concatenate([np.empty(0, np.int32), *(items for _, _, items in rows)]).astype(np.int32),
            stops={"none": len(sources) * self.trials - len(rows)},
        )
