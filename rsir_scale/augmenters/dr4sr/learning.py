"""Fitting the regenerator: which pairs an update holds, and their loss.

Comes in: sources, the patterns mined from them, and the item vectors of theta_k. Goes out: a `training.learner.Learner`
for the project's own fit. As in the authors' code, a token competes with the items of its source and the end alone,
item vectors start from a recommender's, and the weights after the last update are kept: there is no validation. Noise
belongs to a pair and an update, so it is the same however many workers share the update.

Shapes: B pairs, S items of a source, T tokens, C candidates of a pair, K memories, V items, D width.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from rsir_scale.augmenters.dr4sr.network import Regenerator
from rsir_scale.augmenters.dr4sr.options import Dr4srOptions
from rsir_scale.config.settings import TrainingConfig
from rsir_scale.data.sequences import Int64Array, Sequences
from rsir_scale.models.inputs import pad_latest, parts_by_length
from rsir_scale.randomness import Purpose, uniforms
from rsir_scale.training.batches import pass_batches, updates_per_pass
from rsir_scale.training.task import Budget
from rsir_scale.training.worker import Worker

_COOLING, _LEAST_HEAT = 0.995, 0.1  # an update; as in the authors' code
_LEAST_UNIFORM = 2.0**-54


@dataclass(frozen=True)
class Batch:
    """Pairs as the loss reads them.

    Attributes:
        source_BS: int64, right-padded with 0.
        pattern_BT: int64, the begin token and the pattern, right-padded with 0.
        target_BT: int64, the token after each; 0 where there is none.
    """

    source_BS: Tensor
    pattern_BT: Tensor
    target_BT: Tensor


class PatternLearner:
    """A `Learner` of patterns.

    Args:
        sources: D_k, each row cut to the items that are read.
        pairs: what `patterns.mine_pairs` found in them; at least one.
        item_vectors_VD: float32 `[V + 1, D]`.
        source_length: items of the longest source that will ever be read.
        options: of the augmenter.
        training: the run's section; where it is fitted stays, how is the options'.
        identity: (seed, iteration).
    """

    name = "the regenerator of generation.augmenter=dr4sr"
    rate_setting = "augmenter.learning_rate"
    score_name = "updates"

    def __init__(
        self,
        sources: Sequences,
        pairs: Sequences,
        *,
        item_vectors_VD: Tensor,
        source_length: int,
        options: Dr4srOptions,
        training: TrainingConfig,
        identity: tuple[int, int],
    ) -> None:
        self._sources, self._pairs, self._options = sources, pairs, options
        self._item_vectors_VD, self._source_length = item_vectors_VD, source_length
        by_id = np.argsort(sources.ids)
        self._source_of = by_id[np.searchsorted(sources.ids, pairs.ids, sorter=by_id)]
        self._lengths, self._source_lengths = pairs.lengths, sources.lengths
        self._pass: tuple[int, list[Int64Array]] = (-1, [])
        interval = updates_per_pass(len(pairs), options.batch_size)
        updates = interval * options.epochs
        self.identity: tuple[int, ...] = (*identity, Purpose.AUGMENT)
        self.budget = Budget(interval=interval, maximum=updates, patience=updates)
        self.config = training.model_copy(
            update={
                "batch_size": options.batch_size,
                "learning_rate": options.learning_rate,
                "max_epochs": options.epochs,
                "patience": options.epochs,
                "schedule": "constant",
                "weight_decay": 0.0,
                "item_updates": "dense",
            }
        )

    def build(self, *, seed: int) -> Regenerator:
        """See `Learner.build`."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return Regenerator(
                item_count=len(self._item_vectors_VD) - 1,
                width=self._item_vectors_VD.shape[1],
                source_length=self._source_length,
                options=self._options,
            )

    def begin(self, model: Regenerator) -> None:
        """Start items from the recommender's vectors, and remember which of them occur."""
        model.start_from(self._item_vectors_VD, torch.from_numpy(self._sources.items.astype(np.int64)))

    def loss(self, model: Regenerator, update: int, worker: Worker) -> Tensor | None:
        """Return the mean over the update's targets, plus the weighed entropy of its choices among memories."""
        pairs = self.pairs_of(update)
        own = pairs[worker.rank :: worker.size]
        if len(own) == 0:
            return None
        heat = max(_COOLING**update, _LEAST_HEAT)
        targets = int((self._lengths[pairs] + 1).sum())
        loss = torch.zeros((), device=worker.device)
        for part in self._by_length(own):
            batch = self._batch(part, model, worker.device)
            noise_BK = self._noise(update, part).to(worker.device)
            query_BTD, weight_BK = model(batch.source_BS, batch.pattern_BT, noise_BK, heat=heat)
            entropy = -(weight_BK * (weight_BK + 1e-12).log()).sum()
            loss = loss + _token_loss(model, query_BTD, batch) / targets
            loss = loss + self._options.sharpness * entropy / len(pairs)
        return loss

    def score(self, model: Regenerator, update: int, worker: Worker) -> float:  # noqa: ARG002 - of the protocol
        """Return the number of updates: the latest weights are kept."""
        return float(update)

    def pairs_of(self, update: int) -> Int64Array:
        """Return the pairs of an update, over all workers."""
        number, index = divmod(update, self.budget.interval)
        if self._pass[0] != number:
            every = np.arange(len(self._pairs))
            self._pass = (number, pass_batches(every, batch_size=self.config.batch_size, key=(*self.identity, number)))
        return self._pass[1][index]

    def _by_length(self, pairs: Int64Array) -> list[Int64Array]:
        """Pairs apart whose sources differ much in length, so that little is padded."""
        lengths = self._source_lengths[self._source_of[pairs]]
        order = np.argsort(lengths, kind="stable")
        return [pairs[order[part.rows]] for part in parts_by_length(lengths[order])]

    def _noise(self, update: int, pairs: Int64Array) -> Tensor:
        """Gumbel noise, float32 `[B, K]`."""
        memory = np.arange(self._options.memories)
        draw_BK = uniforms(*self.identity, update, pairs[:, None], memory, Purpose.NOISE)
        return torch.from_numpy(-np.log(-np.log(np.maximum(draw_BK, _LEAST_UNIFORM)))).float()

    def _batch(self, pairs: Int64Array, model: Regenerator, device: torch.device) -> Batch:
        source_BS = pad_latest(self._sources, self._source_of[pairs], max_length=self._source_length)
        items_BT = pad_latest(self._pairs, pairs, max_length=self._options.span)
        rows = len(pairs)
        begin_B1 = torch.full((rows, 1), model.begin)
        after_BT = torch.cat([items_BT, torch.zeros((rows, 1), dtype=torch.int64)], 1)
        after_BT[torch.arange(rows), torch.from_numpy(self._lengths[pairs])] = model.end
        return Batch(source_BS.to(device), torch.cat([begin_B1, items_BT], 1).to(device), after_BT.to(device))


def _token_loss(model: Regenerator, query_BTD: Tensor, batch: Batch) -> Tensor:
    """Sum over the targets of cross-entropy against the items of their sources, each once, and the end."""
    source_BS = batch.source_BS
    repeated_BS = (source_BS[:, :, None] == source_BS[:, None, :]).tril(-1).any(2)
    end_B1 = torch.full_like(source_BS[:, :1], model.end)
    candidate_BC = torch.cat([source_BS.masked_fill(repeated_BS, 0), end_B1], 1)
    score_BTC = query_BTD @ model.tokens(candidate_BC).transpose(1, 2)
    score_BTC = score_BTC.masked_fill((candidate_BC == 0)[:, None], float("-inf"))
    row_N, token_N = (batch.target_BT > 0).nonzero(as_tuple=True)
    place_N = (candidate_BC[row_N] == batch.target_BT[row_N, token_N][:, None]).int().argmax(1)
    return F.cross_entropy(score_BTC[row_N, token_N], place_N, reduction="sum")
