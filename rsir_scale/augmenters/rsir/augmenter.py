"""The paper's augmenter: theta_k, or a teacher, continues prefixes of a source, and each step must pass the check.

Comes in: sources. Goes out: rows with the evidence of every step. Its settings are the section `fidelity` and those of
`generation` that no other augmenter reads.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from rsir_scale.augmenters.base import Augmenter
from rsir_scale.augmenters.part import Part, Rechecked
from rsir_scale.augmenters.rsir.decode import decode
from rsir_scale.augmenters.rsir.recheck import ShardFacts, recheck_rows
from rsir_scale.augmenters.rsir.rescore import Probing
from rsir_scale.augmenters.rsir.rows import EVIDENCE, TOO_SHORT, written_rows
from rsir_scale.augmenters.rsir.rules import cut_sources, lengths_of, rules_of
from rsir_scale.augmenters.rsir.searching import (
    acceptance,
    check_search,
    decided_search,
    decides,
    open_clusters,
    open_search,
    prepare_search,
    search_files,
)
from rsir_scale.augmenters.written import Written
from rsir_scale.config.settings import READ_BY_SOME, Config
from rsir_scale.data.dataset import PreparedDataset
from rsir_scale.data.sequences import Sequences
from rsir_scale.models.repository import load_writing_model
from rsir_scale.runs.plan import ShardPlan
from rsir_scale.runs.records import FileEntry


class Rsir(Augmenter):
    """Recursive self-improvement (paper Sec. 3.2, Algorithm 1)."""

    evidence = EVIDENCE
    beyond_training_items = True  # the pool of exploration is the whole catalogue
    not_again = "the rules and draws of their trials; they were not scored"

    @classmethod
    def check(cls, config: Config, dataset: PreparedDataset) -> None:
        """Refuse rules that cannot work on the catalogue, or a search that is not installed. Raises ConfigError."""
        rules_of(config, dataset)
        check_search(config.fidelity)

    @classmethod
    def trials_of(cls, config: Config, dataset: PreparedDataset) -> int:
        """m, times the lengths at which a trial may leave a row."""
        lengths = lengths_of(config.generation, longest=dataset.meta.max_length)
        return config.generation.trials_per_sequence * lengths

    @classmethod
    def reads(cls, config: Config) -> frozenset[str]:  # noqa: ARG003
        """All of them."""
        return READ_BY_SOME

    @property
    def prepares(self) -> bool:
        """Whether the settings leave something to be decided."""
        return decides(self.run.config.fidelity)

    def prepare(self, plan: ShardPlan) -> None:
        """Decide what the iteration searches, where that is left open, and make its clusters."""
        prepare_search(self.run, plan, device=self.device)

    def files(self) -> list[FileEntry]:
        """The record of the search and its clusters, if any."""
        return search_files(self.run, self.iteration)

    def facts(self, counters: Mapping[str, int]) -> list[str]:
        """What was decided about the search, and whether the check could fail at all."""
        record = decided_search(self.run, self.iteration)
        facts = [] if record is None else [f"fidelity is {record.mode}: {record.why}"]
        if unfailing := counters.get("unfailing_steps", 0):
            facts.append(
                f"{unfailing} of {counters['steps']} checks saw fewer items than fidelity.rank_threshold="
                f"{self.run.config.fidelity.rank_threshold} and could not fail: raise fidelity.nprobe, or lower the "
                "threshold"
            )
        return facts

    def open(self) -> None:
        """Load the model that writes, and build the search over its item table.

        Raises:
            ObjectMissingError: there is no such model.
            IntegrityError: its weights, the record of the search or its clusters are missing or damaged, or an item
                vector is not finite.
            ConfigError: the settings cannot work on this dataset, or the search not on this device.
        """
        run = self.run
        rules = rules_of(run.config, run.dataset)
        self._rules = replace(rules, acceptance=acceptance(run, self.iteration))
        self._backbone = load_writing_model(run, self.iteration, device=self.device)
        self._search = open_search(run, self.iteration, self._backbone.item_vectors())

    def write(self, sources: Sequences) -> Written:
        """Run every trial of every source to its end."""
        usable = cut_sources(sources, self._rules)
        tried = np.flatnonzero(usable.lengths >= 2)
        identity = (self.run.config.seed, self.iteration)
        chosen = usable.select(tried)
        decoded = decode(self._backbone, self._search, chosen, self._rules, identity=identity)
        written = written_rows(decoded, chosen, self._rules, search=self._search.name)
        too_short = (len(sources) - len(tried)) * self.trials
        return replace(written, source=tried[written.source], stops={TOO_SHORT: too_short, **written.stops})

    def recheck(self, part: Part) -> Rechecked:
        """Hold every row to the rules and the draws of its trial, and score the chosen ones again by a full scan."""
        facts = ShardFacts(
            sources=cut_sources(part.sources, self._rules),
            set_aside=part.set_aside,
            first_id=part.first_id,
            seed=self.run.config.seed,
            iteration=self.iteration,
        )
        clusters, fidelity = open_clusters(self.run, self.iteration), self.run.config.fidelity
        probing = None if clusters is None else Probing(clusters, fidelity.nprobe, fidelity.semantics)
        return recheck_rows(part.table, facts, self._rules, self._backbone, probing=probing, score=part.chosen)
