"""DR4SR: a row is a pattern that several sequences share, or what a regenerator writes from a source.

Comes in: sources. Goes out, beside each: the patterns that it was given, as its first trials; then one row from each
memory of the regenerator, as its last. The regenerator is fitted once an iteration, by the project's own fit, on the
pairs of source and pattern in the plan's files; its items start from the vectors of theta_k. The pairs are mined again
in `prepare`, for the shards: mining is exact and takes seconds, and a fit may run where nothing can be written yet.

A pattern that no source was given is not written: the authors add every pattern once. A row that is its source again
leaves no row; rows that several sources leave are settled by the run.

Source: Yin et al., "Dataset Regeneration for Sequential Recommendation", KDD 2024, without the personaliser (DR4SR+).
"""

import numpy as np
import pyarrow as pa
import torch

from rsir_scale.augmenters import prepared
from rsir_scale.augmenters.base import Augmenter
from rsir_scale.augmenters.dr4sr.decode import Decoder
from rsir_scale.augmenters.dr4sr.learning import PatternLearner
from rsir_scale.augmenters.dr4sr.network import Regenerator
from rsir_scale.augmenters.dr4sr.options import Dr4srOptions
from rsir_scale.augmenters.dr4sr.patterns import holds_pattern, mine_pairs
from rsir_scale.augmenters.dr4sr.rows import rows_of
from rsir_scale.augmenters.written import Written
from rsir_scale.config.settings import Config
from rsir_scale.data.dataset import PreparedDataset
from rsir_scale.data.schema import ITEMS, SEQUENCE_ID
from rsir_scale.data.sequences import Sequences, from_arrow, to_list_array
from rsir_scale.data.split import keep_last
from rsir_scale.errors import ConfigError, InputError, IntegrityError
from rsir_scale.models.repository import load_trained
from rsir_scale.ranking.base import require_finite_items
from rsir_scale.runs.lineage import load
from rsir_scale.runs.plan import ShardPlan, read_plan
from rsir_scale.runs.records import FileEntry
from rsir_scale.training.learned import load_learned_weights

TABLE = pa.schema([(SEQUENCE_ID, pa.int64()), (ITEMS, pa.list_(pa.int32()))])


class Dr4sr(Augmenter):
    """Writes patterns, mined and regenerated.

    Attributes:
        pairs: once it is open, the patterns of all sources, by rising id of the source.
        network: once it is open, the regenerator that it decodes with.
    """

    Options = Dr4srOptions

    @classmethod
    def check(cls, config: Config, dataset: PreparedDataset) -> None:
        """Refuse heads that do not divide the width, and data in which no pattern is frequent.

        Raises:
            ConfigError: the first.
            InputError: the second.
        """
        options = Dr4srOptions.model_validate(config.augmenter)
        if not config.model.is_plugin:
            _refuse_heads(options, config.model.width)
        if not holds_pattern(_read_part(dataset.training_sequences(), config), options.span, options.support):
            raise _no_pattern(options, dataset)

    @classmethod
    def trials_of(cls, config: Config, dataset: PreparedDataset) -> int:  # noqa: ARG003
        """Patterns of a source, and memories to write from."""
        options = Dr4srOptions.model_validate(config.augmenter)
        return options.patterns + options.memories

    @classmethod
    def reads(cls, config: Config) -> frozenset[str]:  # noqa: ARG003
        """None: options say how many rows a source has, and items start from the vectors of theta_k itself."""
        return frozenset()

    def learner(self) -> PatternLearner:
        """Make what learns the plan's pairs.

        Raises:
            InputError: no pattern is frequent.
            ConfigError: heads do not divide the width of the item vectors.
            IntegrityError: a source file or theta_k is damaged, or an item vector is not finite.
        """
        run, options = self.run, self.options
        sources = self._sources(read_plan(run.store, self.iteration))
        pairs = self._mined(sources)
        if not len(pairs):
            raise _no_pattern(options, run.dataset)
        return PatternLearner(
            sources,
            pairs,
            item_vectors_VD=self._item_vectors(),
            source_length=run.config.data.max_length,
            options=options,
            training=run.config.training,
            identity=(run.config.seed, self.iteration),
        )

    def prepare(self, plan: ShardPlan) -> None:
        """Mine the pairs, if that was not done. Raises IntegrityError: a source file is damaged."""
        store = self.run.store
        if prepared.read(store, self.iteration) is not None:
            return
        pairs = self._mined(self._sources(plan))
        columns = [pa.array(pairs.ids), to_list_array(pairs.offsets, pairs.items)]
        figures = {"pairs": float(len(pairs)), "sources_with_a_pattern": float(len(np.unique(pairs.ids)))}
        prepared.publish_table(store, self.iteration, pa.table(columns, schema=TABLE), figures=figures)

    def files(self) -> list[FileEntry]:
        """The table of pairs and its record."""
        return prepared.prepared_files(self.run.store, self.iteration)

    def open(self) -> None:
        """Read the pairs and the regenerator.

        Raises:
            ObjectMissingError: there is no regenerator.
            IntegrityError: pairs or weights are missing or damaged.
        """
        run, options = self.run, self.options
        self.pairs = from_arrow(prepared.read_table(run.store, self.iteration, TABLE))
        in_order = bool((np.diff(self.pairs.ids) >= 0).all()) and bool((self.pairs.lengths >= 2).all())
        if not in_order or ((self.pairs.items < 1) | (self.pairs.items > run.dataset.meta.items)).any():
            raise IntegrityError(
                f"{run.store.root}: the patterns that iteration {self.iteration} was prepared with are not what mining "
                "gives: restore the table"
            )
        length = run.config.data.max_length
        width = self._item_vectors().shape[1]
        blank = Regenerator(item_count=run.dataset.meta.items, width=width, source_length=length, options=options)
        self.network = load_learned_weights(run.store, self.iteration, blank, device=self.device)
        self._decoder = Decoder(
            self.network, options, source_length=length, batch_rows=run.config.generation.batch_size
        )

    def write(self, sources: Sequences) -> Written:
        """Write each source's patterns, and a row from each memory."""
        return rows_of(
            sources,
            self.pairs,
            self._decoder.decode(sources),
            patterns=self.options.patterns,
            search=self._decoder.search_name,
        )

    def _sources(self, plan: ShardPlan) -> Sequences:
        run = self.run
        return _read_part(load(run, plan.files), run.config)

    def _mined(self, sources: Sequences) -> Sequences:
        options = self.options
        identity = (self.run.config.seed, self.iteration)
        return mine_pairs(sources, span=options.span, support=options.support, most=options.patterns, identity=identity)

    def _item_vectors(self) -> torch.Tensor:
        run = self.run
        backbone = load_trained(run, self.iteration)
        items_VD = backbone.item_vectors().detach().float()
        require_finite_items(items_VD, name=run.dataset.item_name)
        _refuse_heads(self.options, items_VD.shape[1])
        return items_VD


def _read_part(sequences: Sequences, config: Config) -> Sequences:
    """The items of each sequence that the regenerator reads, the latest ones."""
    latest, _ = keep_last(sequences, config.data.max_length)
    return latest


def _refuse_heads(options: Dr4srOptions, width: int) -> None:
    if width % options.heads:
        raise ConfigError(
            f"augmenter.heads={options.heads} does not divide {width}, the width of the item vectors that the "
            "regenerator starts from: choose one that does, or set model.width"
        )


def _no_pattern(options: Dr4srOptions, dataset: PreparedDataset) -> InputError:
    return InputError(
        f"no two items stand in {options.support} training sequences of {dataset.path} in the same order, less than "
        f"{options.span} apart, and dr4sr learns from nothing else: lower augmenter.support, raise augmenter.span, or "
        "import a longer log"
    )
