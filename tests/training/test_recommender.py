"""The loss of an update is the mean over the targets that the model is given, whoever computes which share of it."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from rsir_scale.config.settings import ModelConfig
from rsir_scale.models.base import Backbone
from rsir_scale.models.compiled_packed import instructions
from rsir_scale.models.sasrec import SASRec
from rsir_scale.training.recommender import Recommender
from rsir_scale.training.task import TrainingTask
from rsir_scale.training.worker import Worker
from tests.training.market import market, task, without_dropout

LONGEST = 5
Gradients = dict[str, torch.Tensor]


def _short_task(*, with_pseudo_items: bool) -> TrainingTask:
    """Sequences of which most are longer than what the model reads; with pseudo items some have fewer targets."""
    whole = without_dropout(task(loss="cross_entropy", batch_size=16))
    description = whole.description.model_copy(update={"max_length": LONGEST})
    lengths = market().training_sequences().lengths
    first_targets = 1 + np.arange(len(lengths)) % (lengths - 1) if with_pseudo_items else None
    return replace(whole, description=description, first_targets=first_targets)


def _plain_mean(model: Backbone, fitted: TrainingTask, rows: np.ndarray) -> tuple[float, Gradients]:
    """The mean cross-entropy, one context after another, and its gradients."""
    losses = []
    for row in rows:
        items = fitted.sequences.row(row).tolist()
        first = 1 if fitted.first_targets is None else int(fitted.first_targets[row])
        cut = max(0, len(items) - LONGEST - 1)
        for place in range(max(first, cut + 1), len(items)):
            scores = model.encode(torch.tensor([items[cut:place]]))[0] @ model.item_vectors()[1:].T
            losses.append(scores.logsumexp(0) - scores[items[place] - 1])
    mean = torch.stack(losses).mean()
    return mean.item(), _gradients(model, mean)


def _gradients(model: Backbone, loss: torch.Tensor) -> Gradients:
    model.zero_grad()
    loss.backward()
    return {name: one.grad.clone() for name, one in model.named_parameters() if one.grad is not None}


@pytest.mark.parametrize("with_pseudo_items", [False, True])
@pytest.mark.parametrize("workers", [1, 3])
def test_shares_add_up_to_the_plain_mean_over_the_targets_that_are_left_of_long_sequences(
    workers: int, with_pseudo_items: bool
) -> None:
    fitted = _short_task(with_pseudo_items=with_pseudo_items)
    learner = Recommender(fitted)
    model, rows = learner.build(seed=4), learner.rows(0)
    lengths = fitted.sequences.lengths[rows]
    assert lengths.min() <= LONGEST + 1 < lengths.max()
    expected, gradients = _plain_mean(model, fitted, rows)
    shares = [learner.loss(model, 0, Worker(rank=rank, size=workers)) for rank in range(workers)]
    assert sum(share.item() for share in shares) == pytest.approx(expected, rel=1e-5)
    parts = [_gradients(model, share) for share in shares]
    for name, gradient in gradients.items():
        torch.testing.assert_close(sum(part[name] for part in parts), gradient, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    ("changes", "encoder"),
    [
        ({}, "compiled" if instructions() else "torch"),
        ({"width": 24, "feed_forward": 24}, "torch"),
        ({"backbone": "hstu"}, "compiled" if instructions() else "torch"),
        ({"backbone": f"{__name__}:Padded"}, "torch, padded"),
    ],
)
def test_dropout_belongs_to_the_sequence_so_shares_add_up_and_the_encoder_is_told(
    changes: dict[str, object], encoder: str
) -> None:
    model = ModelConfig.model_validate({"width": 32, "heads": 2, "feed_forward": 32, "dropout": 0.5} | changes)
    learner = Recommender(task(model, batch_size=32))
    assert learner.encoder is None
    backbone = learner.build(seed=4)
    shares = [
        [learner.loss(backbone, 3, Worker(rank=rank, size=size)).item() for rank in range(size)] for size in (1, 2, 5)
    ]
    assert learner.encoder is not None
    assert learner.encoder.startswith(encoder)
    if encoder != "torch, padded":
        assert [sum(share) for share in shares] == pytest.approx([shares[0][0]] * 3, rel=1e-6)
        assert learner.loss(backbone, 4, Worker()).item() != pytest.approx(shares[0][0], rel=1e-6)


def test_bfloat16_is_encoded_by_torch_and_the_record_says_so() -> None:
    learner = Recommender(task(batch_size=32, precision="bfloat16"))
    learner.loss(learner.build(seed=4), 0, Worker())
    assert learner.encoder == "torch"


class Padded(SASRec):
    """A class of the user's that wants to be asked for `hidden`."""

    def hidden(self, context_BL: torch.Tensor) -> torch.Tensor:
        return super().hidden(context_BL)


def test_a_worker_without_rows_in_a_short_batch_has_no_share() -> None:
    fitted = _short_task(with_pseudo_items=False)
    learner = Recommender(fitted)
    last = fitted.budget.interval - 1
    assert learner.loss(learner.build(seed=4), last, Worker(rank=len(learner.rows(last)), size=64)) is None
