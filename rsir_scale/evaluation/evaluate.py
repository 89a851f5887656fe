"""Ranks of held-out items over the full catalogue.

The rank of a target is 1 + the number of other items that score at least as high: equal scores count against the model.
With history masking the items of the context do not count, and a target that is one of them comes last, for nobody
would be recommended it. The exact search finds the ranks; a cap lets it leave a row once so many items are ahead.

Shapes: B rows, D width, V items.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rsir_scale.data.dataset import HeldOut, Sequences
from rsir_scale.evaluation.metrics import beyond_cutoffs
from rsir_scale.evaluation.rows import answered, encoded, history, packed, threads_for_rows
from rsir_scale.models.base import Backbone
from rsir_scale.models.inputs import blocks_by_length
from rsir_scale.ranking.base import ExactItemSearch, RankQuery

_ROWS_PER_GROUP = 1 << 13  # whose queries are held at once
Ranks = npt.NDArray[np.int64]


@dataclass(frozen=True)
class EvaluationSet:
    """Users with a held-out item: context of row i → target i.

    Attributes:
        contexts: one sequence a user, everything that precedes the target.
        targets: item indices 1..V, one a row.
    """

    contexts: Sequences
    targets: npt.NDArray[np.int32]

    def masked(self) -> npt.NDArray[np.bool_]:
        """Whether each target is an item of its own context, and so out of reach where history is masked."""
        contexts = self.contexts
        row = np.repeat(np.arange(len(contexts)), contexts.lengths)
        return np.bincount(row[contexts.items == self.targets[row]], minlength=len(contexts)) > 0

    def part(self, *, rank: int, of: int) -> "EvaluationSet":
        """Return every `of`-th row, starting at `rank`: one worker's share."""
        rows = np.arange(rank, len(self.targets), of)
        return EvaluationSet(self.contexts.select(rows), self.targets[rows])


def validation_set(training: Sequences, held_out: HeldOut) -> EvaluationSet:
    """Users with a validation item; the context is the training sequence.

    Args:
        training: real training sequences, ordered by id.
        held_out: their held-out items, in the same order; 0 is none.
    """
    rows = np.flatnonzero((held_out.validation > 0) & (training.lengths > 0))
    return EvaluationSet(training.select(rows), held_out.validation[rows])


def test_set(training: Sequences, held_out: HeldOut) -> EvaluationSet:
    """Users with a test item; the context is the training sequence and the validation item after it."""
    rows = np.flatnonzero((held_out.test > 0) & (held_out.validation > 0))
    chosen = training.select(rows)
    items = np.insert(chosen.items, chosen.offsets[1:], held_out.validation[rows])
    offsets = chosen.offsets + np.arange(len(chosen.offsets))
    return EvaluationSet(Sequences(ids=chosen.ids, offsets=offsets, items=items), held_out.test[rows])


def rank_targets(backbone: Backbone, evaluation: EvaluationSet, *, mask_history: bool, cap: int | None = None) -> Ranks:
    """Rank the targets of one set; see `rank_sets`."""
    return rank_sets(backbone, {"": evaluation}, mask_history=mask_history, cap=cap)[""]


@torch.no_grad()  # not inference mode: what a class of the user's keeps from here, training may read
def rank_sets(
    backbone: Backbone,
    sets: Mapping[str, EvaluationSet],
    *,
    mask_history: bool,
    cap: int | None = None,
    tell: Callable[[int], None] = lambda _: None,
) -> dict[str, Ranks]:
    """Rank each row's target among all items of the catalogue, which is packed once for all sets.

    Args:
        backbone: whose queries and items.
        sets: users, contexts and targets.
        mask_history: whether items of the context cannot be recommended, the target too if it is one.
        cap: the greatest rank that is told apart, at least the largest cutoff; None for all.
        tell: is told now and then how many rows of all sets are ranked.

    Returns:
        By set, int64 ranks in the order of the rows: 1..V, or cap + 1 for all that lie beyond the cap. Masked targets
        have the last of these, or more where V is within a cutoff.

    Raises:
        DivergedError: a query or an item has NaN or an infinity.
    """
    was_training = backbone.training
    backbone.eval()
    ranking = _Ranking(backbone, *packed(backbone), mask_history, cap or backbone.item_count)
    with threads_for_rows() as threads:
        ranks: dict[str, Ranks] = {}
        for name, users in sets.items():
            before = sum(len(done) for done in ranks.values())
            ranks[name] = ranking.ranks(users, threads, partial(_told_after, before, tell))
    backbone.train(was_training)
    return ranks


def _told_after(before: int, tell: Callable[[int], None], rows: int) -> None:
    """Tell of rows of one set after those of the sets before it."""
    tell(before + rows)


@dataclass(frozen=True)
class _Ranking:
    """A model, the search over its items, and the protocol."""

    backbone: Backbone
    search: ExactItemSearch
    device: torch.device
    mask_history: bool
    cap: int

    def ranks(self, users: EvaluationSet, threads: Executor, tell: Callable[[int], None]) -> Ranks:
        ranks, done = np.empty(len(users.targets), dtype=np.int64), 0
        for rows in blocks_by_length(users.contexts.lengths, rows=_ROWS_PER_GROUP):
            ask = partial(self._piece_ranks, self._query(users, rows))
            for piece, rank_B in answered(threads, len(rows), ask):
                ranks[rows[piece]] = rank_B.cpu().numpy()
                done += len(rank_B)
                tell(done)
        if self.mask_history:
            items = self.backbone.item_count
            ranks[users.masked()] = self.cap + 1 if self.cap < items else beyond_cutoffs(items)
        return ranks

    def _query(self, users: EvaluationSet, rows: npt.NDArray[np.int64]) -> RankQuery:
        return RankQuery(
            query_BD=encoded(self.backbone, users.contexts, rows, device=self.device),
            target_B=torch.from_numpy(users.targets[rows].astype(np.int64)).to(self.device),
            excluded_BL=history(users.contexts, rows, masked=self.mask_history, device=self.device),
        )

    def _piece_ranks(self, query: RankQuery, piece: slice) -> Tensor:
        part = RankQuery(query.query_BD[piece], query.target_B[piece], query.excluded_BL[piece])
        return self.search.ranks(part, cap=self.cap)
