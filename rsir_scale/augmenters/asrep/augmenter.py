"""ASReP: a model that reads backwards writes items before each short sequence.

Comes in: sources. Goes out: each short one behind the items that the reversed model puts before it, nearest first, each
the best by score and none twice. The row stands in place of its source. A sequence is extended once, in iteration 0:
later iterations write nothing. Contexts that are evaluated are not extended.

Where this differs from the authors' code:
- Theirs looks at held-out items in three ways: the reversed model is trained on them, the extension reads them, and the
  final model starts from the reversed one. Here whatever leads to the model that is evaluated reads training files.
- The items nearest to a sequence are used. Theirs uses the farthest (see `options`).
- The items written are context alone, unless `augmenter.targets` says otherwise. Theirs are learned as any other.
- The reversed model learns by the run's loss, and stops by a validation of its own. Theirs learns by binary
  cross-entropy, for 200 passes.

Source: Liu et al., "Augmenting Sequential Recommendation with Pseudo-Prior Items via Reversely Pre-training
Transformer", SIGIR 2021.
"""

from collections.abc import Mapping

import numpy as np
import torch

from rsir_scale.augmenters.asrep.extending import Extender
from rsir_scale.augmenters.asrep.learning import backwards, reversed_learner, reversed_model
from rsir_scale.augmenters.asrep.options import AsrepOptions
from rsir_scale.augmenters.base import Augmenter
from rsir_scale.augmenters.written import BoolArray, Written
from rsir_scale.data.sequences import Int32Array, Int64Array, Sequences, offsets_of
from rsir_scale.models.base import Backbone
from rsir_scale.models.checkpoint import build_backbone
from rsir_scale.training.learned import load_learned_weights
from rsir_scale.training.learner import Learner

LONG_ENOUGH, EXHAUSTED, EMPTY, EXTENDED_BEFORE = "long_enough", "exhausted", "empty", "extended_before"


class Asrep(Augmenter):
    """Backward extension of short sequences."""

    Options = AsrepOptions
    replaces_source = True
    fixed_trials = 1
    options: AsrepOptions

    @property
    def learns(self) -> bool:
        """Whether anything is to be extended."""
        return self.iteration == 0

    def learner(self) -> Learner[Backbone]:
        """The fit of the reversed model, on the users' training sequences."""
        run = self.run
        return reversed_learner(
            run.dataset.training_sequences(),
            self.options,
            item_count=run.dataset.meta.items,
            training=run.config.training,
            seed=run.config.seed,
            iteration=self.iteration,
        )

    def facts(self, counters: Mapping[str, int]) -> list[str]:
        """What the rows are, in words."""
        if not self.learns:
            return ["asrep extended every short sequence in iteration 0, and writes nothing in later ones"]
        limit, written = self.options.shorter_than, counters.get("pseudo_items", 0)
        use = "training predicts them, too" if self.options.targets else "they carry no loss"
        return [f"a reversed model wrote {written} items before sequences of fewer than {limit}; {use}"]

    def open(self) -> None:
        """Load the reversed model.

        Raises:
            ObjectMissingError: it was not fitted.
            IntegrityError: its weights are damaged.
        """
        if not self.learns:
            return
        run = self.run
        model = build_backbone(reversed_model(self.options, item_count=run.dataset.meta.items))
        trained = load_learned_weights(run.store, self.iteration, model, device=self.device)
        known = np.unique(run.dataset.training_sequences().items).astype(np.int64)
        self.extender = Extender(trained.double(), torch.from_numpy(known))

    def write(self, sources: Sequences) -> Written:
        """Extend each short source."""
        if not self.learns:
            return _nothing(EXTENDED_BEFORE, len(sources))
        options = self.options
        is_long, is_empty = sources.lengths >= options.shorter_than, sources.lengths == 0
        short = np.flatnonzero(~is_long & ~is_empty)
        contexts = backwards(sources.select(short))
        found_NP = self.extender.extend(contexts, np.minimum(options.items, options.shorter_than - contexts.lengths))
        written = (found_NP > 0).sum(axis=1)
        is_extended = written > 0
        chosen, written = short[is_extended], written[is_extended]
        offsets, items = _joined(found_NP[is_extended, ::-1], sources.select(chosen))
        return Written(
            source=chosen,
            trial=np.zeros(len(chosen), dtype=np.int64),
            offsets=offsets,
            items=items,
            stops={LONG_ENOUGH: int(is_long.sum()), EMPTY: int(is_empty.sum()), EXHAUSTED: int((~is_extended).sum())},
            first_target=None if options.targets else written,
            counters={"pseudo_items": int(written.sum())},
            encoder="backwards/float64",
            search=self.extender.search_name,
        )


def _nothing(reason: str, count: int) -> Written:
    none, items = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int32)
    return Written(source=none, trial=none, offsets=offsets_of(none), items=items, stops={reason: count})


def _joined(before_NP: Int32Array, own: Sequences) -> tuple[Int64Array, Int32Array]:
    """Offsets and items of the rows: the items before, 0 standing for none, then the sequence."""
    lengths = (before_NP > 0).sum(axis=1) + own.lengths
    offsets = offsets_of(lengths)
    is_own = _ends(lengths, own.lengths)
    items = np.empty(offsets[-1], dtype=np.int32)
    items[~is_own] = before_NP[before_NP > 0]
    items[is_own] = own.items
    return offsets, items


def _ends(lengths: Int64Array, of: Int64Array) -> BoolArray:
    """Which values of rows of these lengths are among the last `of` of their row."""
    place = np.arange(lengths.sum()) - np.repeat(offsets_of(lengths)[:-1], lengths)
    return np.asarray(place >= np.repeat(lengths - of, lengths))
