"""Insertion: each source again, with an item put before some of its items that resembles the one it stands before.

Comes in: sources, and a table of each item's neighbour, which `prepare` makes once an iteration from the plan's files
and theta_k, or the teacher. Goes out: rows that are longer than their sources, cut at the front to what an update reads
of a sequence. An item that resembles none is drawn among all training items. An inserted item may stand in its source
already.

Source: Liu et al., "Contrastive Self-supervised Sequential Recommendation with Robust Augmentation", 2021 (CoSeRec).
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from rsir_scale.augmenters import prepared
from rsir_scale.augmenters.base import Augmenter
from rsir_scale.augmenters.neighbours import NONE, Nearest, by_occurrence, by_vectors, larger, occurring
from rsir_scale.augmenters.trials import ROUNDING, Identity, all_trials, written_from
from rsir_scale.augmenters.written import Written
from rsir_scale.config.fitting import PositiveShare, Section
from rsir_scale.config.settings import TEACHER, Config
from rsir_scale.data.sequences import Int64Array, Sequences, offsets_of
from rsir_scale.data.split import keep_last
from rsir_scale.errors import IntegrityError
from rsir_scale.models.repository import load_writing_model
from rsir_scale.randomness import Purpose
from rsir_scale.ranking.base import require_finite_items
from rsir_scale.runs.lineage import load
from rsir_scale.runs.plan import ShardPlan
from rsir_scale.runs.records import FileEntry

ITEM, NEIGHBOUR = "item_index", "neighbour"
TABLE = pa.schema([(ITEM, pa.int64()), (NEIGHBOUR, pa.int64())])
INSERTED, AT_RANDOM = "inserted_items", "items_at_random"


class InsertionOptions(Section):
    """Options of `insertion`."""

    rate: PositiveShare = Field(
        default=0.4, description="share of a source's items before which one is inserted; 1 item at least"
    )
    similarity: Literal["cooccurrence", "embedding", "larger"] = Field(
        default="larger",
        description="what resembles an item: what occurs in the same sequences, what has a vector like its own, or "
        "whichever of the two has the larger score",
    )


class Insertion(Augmenter):
    """Inserts similar items."""

    Options = InsertionOptions

    @classmethod
    def reads(cls, config: Config) -> frozenset[str]:
        """Trials, and the teacher, where items are compared by their vectors."""
        options = InsertionOptions.model_validate(config.augmenter)
        return super().reads(config) | ({TEACHER} if options.similarity != "cooccurrence" else set())

    def prepare(self, plan: ShardPlan) -> None:
        """Find each item's neighbour, if that was not done.

        Raises:
            IntegrityError: a source file or the model is damaged, or an item vector is not finite.
        """
        run = self.run
        if prepared.read(run.store, self.iteration) is not None:
            return
        sequences = load(run, plan.files)
        known_K, nearest = occurring(sequences), self._nearest(sequences)
        table = pa.table([pa.array(known_K), pa.array(nearest.item_K)], schema=TABLE)
        alone = int((nearest.item_K == NONE).sum())
        prepared.publish_table(
            run.store, self.iteration, table, figures={"items": len(known_K), "items_without_neighbour": alone}
        )

    def _nearest(self, sequences: Sequences) -> Nearest:
        similarity = self.options.similarity
        if similarity == "cooccurrence":
            return by_occurrence(sequences)
        backbone = load_writing_model(self.run, self.iteration, device=self.device)
        items_VD = backbone.item_vectors().detach()
        require_finite_items(items_VD, name=self.run.dataset.item_name)
        similar = by_vectors(occurring(sequences), items_VD.double().cpu().numpy())
        return similar if similarity == "embedding" else larger(by_occurrence(sequences), similar)

    def files(self) -> list[FileEntry]:
        """The table of neighbours and its record."""
        return prepared.prepared_files(self.run.store, self.iteration)

    def facts(self, counters: Mapping[str, int]) -> list[str]:
        """How many items were inserted for want of a similar one."""
        drawn = counters.get(AT_RANDOM, 0)
        if not drawn:
            return []
        return [f"{drawn} of {counters[INSERTED]} inserted items resemble nothing: they were drawn among all items"]

    def open(self) -> None:
        """Read the table of neighbours. Raises IntegrityError: it is missing or damaged."""
        run = self.run
        table = prepared.read_table(run.store, self.iteration, TABLE)
        known_K, nearest_K = (table.column(name).to_numpy() for name in (ITEM, NEIGHBOUR))
        if ((known_K < 1) | (known_K > run.dataset.meta.items)).any() or not np.isin(nearest_K, [NONE, *known_K]).all():
            raise IntegrityError(
                f"{run.store.root}: the neighbours that iteration {self.iteration} was prepared with are no items of "
                "the dataset: restore the table"
            )
        self._known_K = known_K
        self._neighbour_V = np.full(run.dataset.meta.items + 1, NONE)
        self._neighbour_V[known_K] = nearest_K

    def write(self, sources: Sequences) -> Written:
        """See `inserted`."""
        return inserted(
            sources,
            trials=self.trials,
            rate=self.options.rate,
            neighbour_V=self._neighbour_V,
            known_K=self._known_K,
            # What an update reads of a sequence: the longest context and its target.
            longest=self.run.config.data.max_length + 1,
            identity=(self.run.config.seed, self.iteration),
        )


def inserted(
    sources: Sequences,
    *,
    trials: int,
    rate: float,
    neighbour_V: Int64Array,
    known_K: Int64Array,
    longest: int,
    identity: Identity,
) -> Written:
    """Write each source `trials` times, each time with other items inserted.

    Args:
        sources: N sequences of any length.
        trials: m.
        rate: in (0, 1]; max(1, floor(rate n)) of a source's n items have another put before them.
        neighbour_V: int64[V + 1], the item that is put before each item; 0: one is drawn.
        known_K: the items that may be drawn.
        longest: items of a row at the most, the latest ones.
        identity: seed and iteration.
    """
    tried = all_trials(sources, trials)
    copies, row, position = tried.copies, tried.row, tried.position
    count = np.minimum(copies.lengths, np.maximum(1, np.floor(rate * copies.lengths + ROUNDING).astype(np.int64)))
    rank = np.empty_like(position)
    # Sorted by draw within each copy, the items take the positions 0, 1, …: the first `count` are chosen.
    rank[np.lexsort((tried.item_draws(identity, Purpose.PLACE), row))] = position
    chosen = np.flatnonzero(rank < count[row])
    similar = neighbour_V[copies.items[chosen]]
    alone = similar == NONE
    drawn = known_K[(tried.item_draws(identity, Purpose.FILL)[chosen] * len(known_K)).astype(np.int64)]
    items = np.insert(copies.items, chosen, np.where(alone, drawn, similar))
    changed, _ = keep_last(Sequences(copies.ids, offsets_of(copies.lengths + count), items), longest)
    return replace(written_from(tried, changed), counters={INSERTED: len(chosen), AT_RANDOM: int(alone.sum())})
