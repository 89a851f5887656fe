"""Next-item losses over the real positions of a batch.

Comes in: a backbone, a batch and a generator of negatives. Goes out: the weighted *sum* over targets, so that the
caller can normalise over the whole batch, also when several workers share it. Sums over many scores are `softmax`'s.
With a sampled loss nothing here touches more items than the batch and its negatives hold.

Shapes: K tokens of the contexts, T targets (tokens that have one), D width, V items, N negatives, B rows, L positions.
"""

from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from rsir_scale.config.settings import TrainingConfig
from rsir_scale.models.base import Backbone
from rsir_scale.training.batches import Batch
from rsir_scale.training.negatives import Negatives, check_negatives, draw_negatives, own_negatives
from rsir_scale.training.softmax import Hidden, softmax_against, softmax_within, softplus_against


@dataclass(frozen=True)
class Targets:
    """The real positions of a batch, flattened.

    Attributes:
        query_TD: query at each position.
        item_T: the next item.
        row_T: the row of the batch that the position belongs to.
        weight_T: loss weight.
    """

    query_TD: Tensor
    item_T: Tensor
    row_T: Tensor
    weight_T: Tensor


def encoding(config: TrainingConfig, device: torch.device) -> AbstractContextManager[None]:
    """The context in which contexts are encoded while training: matrix products in the precision that is set.

    Losses stay outside: what a score loses in bfloat16 is more than what tells two candidates apart.
    """
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=config.precision == "bfloat16")


def targeted(batch: Batch) -> Tensor:
    """The tokens of a batch that have a target, int64 `[T]`, ascending."""
    contexts = batch.contexts
    return batch.target_BL[contexts.row_T, contexts.position_T].nonzero()[:, 0]


def targets_of(batch: Batch, query_KD: Tensor, token_T: Tensor) -> Targets:
    """The targets of a batch whose tokens `token_T` have one.

    Args:
        batch: the batch.
        query_KD: the query after each of its K tokens.
        token_T: int64, ascending.
    """
    contexts = batch.contexts
    row_T, position_T = contexts.row_T[token_T], contexts.position_T[token_T]
    query_TD = query_KD if len(token_T) == len(query_KD) else query_KD[token_T]
    if query_TD.dtype == torch.bfloat16:
        query_TD = query_TD.float()
    return Targets(query_TD, batch.target_BL[row_T, position_T], row_T, batch.weight_B[row_T])


class Loss:
    """The loss that the settings name, of one fit.

    Args:
        config: the training section.
        item_count: V.

    Raises:
        ConfigError: more negatives are wanted than there are other items.
    """

    def __init__(self, config: TrainingConfig, item_count: int) -> None:
        check_negatives(config, item_count)
        self._config = config
        self._item_count = item_count

    def __call__(self, backbone: Backbone, batch: Batch, draws: torch.Generator) -> Tensor:
        """Return the weighted sum over the batch's targets.

        Args:
            backbone: in training mode.
            batch: on the backbone's device.
            draws: CPU generator of the negatives; the same for all workers, whose rows are one global batch.
        """
        contexts, token_T = batch.contexts, targeted(batch)
        device = contexts.item_T.device
        if self._config.loss == "cross_entropy":
            with encoding(self._config, device):
                query_KD = backbone.packed(contexts)
            return cross_entropy(targets_of(batch, query_KD, token_T), backbone.item_vectors())
        negatives = draw_negatives(self._config.negatives, item_count=self._item_count, generator=draws)
        negative_N = negatives.item_N.to(device)
        item_T = batch.target_BL[contexts.row_T[token_T], contexts.position_T[token_T]]
        with encoding(self._config, device):
            query_KD, beside_ND = backbone.packed_beside(contexts, torch.cat([item_T, negative_N]))
        targets = targets_of(batch, query_KD, token_T)
        target_TD, negative_ND = torch.split(beside_ND, [len(token_T), len(negative_N)])
        positive_T = (targets.query_TD * target_TD).sum(1)
        hidden = own_negatives(batch, targets.row_T, negative_N)
        if self._config.loss == "sampled_softmax":
            corrected = negatives if self._config.logq_correction else None
            return sampled_softmax(targets, positive_T, negative_ND, hidden, corrected)
        beta = self._beta(len(negative_N)) if self._config.loss == "gbce" else 1.0
        return binary_cross_entropy(targets, positive_T, negative_ND, hidden, beta=beta)

    def _beta(self, negatives: int) -> float:
        return gbce_beta(negatives / (self._item_count - 1), self._config.gbce_calibration)


def cross_entropy(targets: Targets, items_VD: Tensor) -> Tensor:
    """Softmax cross-entropy over the whole catalogue (padding excluded), weighted sum."""
    return softmax_within(targets.query_TD, items_VD[1:], targets.item_T - 1, targets.weight_T)


def sampled_softmax(
    targets: Targets, positive_T: Tensor, negative_ND: Tensor, hidden: Hidden, corrected: Negatives | None
) -> Tensor:
    """Softmax over the target and negatives shared by the batch, weighted sum.

    With logQ correction (Bengio and Senecal, 2008) a negative's score is raised, against the target's, by the log of
    the number of items it stands for: the loss then estimates full cross-entropy and does not depend on the number
    drawn. The authors' setting does without.

    Args:
        targets: flattened positions.
        positive_T: the targets' own scores.
        negative_ND: vectors of the negatives.
        hidden: negatives that stand in a row's own sequence: they do not count for it.
        corrected: what the negatives stand for; None without correction.
    """
    if corrected is not None:
        # Among differences of scores, all negatives raised are the target lowered.
        positive_T = positive_T - corrected.log_stands_for
    return softmax_against(targets.query_TD, negative_ND, positive_T, targets.weight_T, hidden=hidden)


def binary_cross_entropy(
    targets: Targets, positive_T: Tensor, negative_ND: Tensor, hidden: Hidden, *, beta: float
) -> Tensor:
    """Binary cross-entropy of the target and of negatives shared by the batch, mean of the 1 + N, weighted sum.

    The target's term counts `beta` times: 1 is the plain loss, less takes back the overconfidence that comes of seeing
    a share of the negatives only (gBCE: Petrov and Macdonald, RecSys 2023). Other arguments as in `sampled_softmax`.
    """
    weight_T = targets.weight_T / (1 + len(negative_ND))
    positive = (weight_T * beta * F.softplus(-positive_T)).sum()
    return positive + softplus_against(targets.query_TD, negative_ND, weight_T, hidden=hidden)


def gbce_beta(sampled_share: float, calibration: float) -> float:
    """Return gBCE's power of the positive probability: 1 at calibration 0, `sampled_share` at calibration 1."""
    return sampled_share * (calibration * (1.0 - 1.0 / sampled_share) + 1.0 / sampled_share)
