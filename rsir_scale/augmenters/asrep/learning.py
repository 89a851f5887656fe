"""What ASReP learns: a SASRec that reads training sequences from their last item to their first.

Comes in: the users' training sequences. Goes out: a `Learner`. It is trained as the run trains theta_k (loss,
negatives, batches), from weights of its own, which nothing else starts from. One user in twenty, drawn by key,
validates: the weights are kept that best foretell these users' first items, which is what they are there for. So early
stopping sees no held-out item, and costs a twentieth of the sequences.
"""

import numpy as np

from rsir_scale.augmenters.asrep.options import AsrepOptions
from rsir_scale.config.fitting import ModelConfig, TrainingConfig
from rsir_scale.data.sequences import Int64Array, Sequences, offsets_of
from rsir_scale.evaluation.evaluate import EvaluationSet
from rsir_scale.randomness import Purpose, uniforms
from rsir_scale.runs.trained import ModelDescription
from rsir_scale.training.batches import trainable_rows
from rsir_scale.training.recommender import Recommender
from rsir_scale.training.task import TrainingTask, budget_of

_VALIDATING_SHARE = 20


def reversed_model(options: AsrepOptions, *, item_count: int) -> ModelDescription:
    """Describe the model that the options ask for."""
    model = ModelConfig(
        backbone="sasrec",
        width=options.width,
        blocks=options.blocks,
        heads=options.heads,
        feed_forward=options.width,
        dropout=options.dropout,
    )
    return ModelDescription(model=model, item_count=item_count, max_length=options.length)


def reversed_learner(
    sequences: Sequences,
    options: AsrepOptions,
    *,
    item_count: int,
    training: TrainingConfig,
    seed: int,
    iteration: int,
) -> Recommender:
    """Make the fit of the reversed model.

    Args:
        sequences: the users' training sequences, oldest item first.
        options: of the augmenter.
        item_count: V.
        training: the run's section.
        seed: of the run.
        iteration: k.

    Raises:
        InputError: no sequence has two items, so there is nothing to predict.
    """
    config = training.model_copy(
        update={
            "learning_rate": options.learning_rate,
            "max_epochs": options.epochs,
            "patience": options.patience,
            "synthetic_share": None,
        }
    )
    identity = (seed, iteration, Purpose.AUGMENT)
    turned = backwards(sequences.select(trainable_rows(sequences)))
    validating = _validating(turned, identity)
    # A sequence that is alone does both.
    learned = turned.select(np.setdiff1d(np.arange(len(turned)), validating)) if len(turned) > 1 else turned
    task = TrainingTask(
        sequences=learned,
        real_count=int(learned.ids.max(initial=0)) + 1,
        weights=np.ones(len(learned), dtype=np.float32),
        validation=_first_items(turned.select(validating)),
        description=reversed_model(options, item_count=item_count),
        config=config,
        budget=budget_of(config, learned),
        identity=identity,
        mask_history=True,
    )
    return Recommender(task, name="the reversed model of asrep", rate_setting="augmenter.learning_rate")


def backwards(sequences: Sequences) -> Sequences:
    """The same sequences, each from its last item to its first."""
    # The whole array backwards holds the rows in falling order, each of them backwards.
    falling = Sequences(sequences.ids[::-1], offsets_of(sequences.lengths[::-1]), sequences.items[::-1])
    return falling.select(np.arange(len(sequences))[::-1])


def _validating(turned: Sequences, identity: tuple[int, ...]) -> Int64Array:
    """Rows that validate: one in twenty, at least one, drawn by sequence id."""
    drawn = uniforms(*identity, turned.ids, Purpose.VALIDATE)
    return np.sort(np.argsort(drawn, kind="stable")[: -(-len(turned) // _VALIDATING_SHARE)])


def _first_items(turned: Sequences) -> EvaluationSet:
    """Each row's context without the user's first item, and that item."""
    last = turned.offsets[1:] - 1
    is_context = np.ones(len(turned.items), dtype=np.bool_)
    is_context[last] = False
    contexts = Sequences(turned.ids, offsets_of(turned.lengths - 1), turned.items[is_context])
    return EvaluationSet(contexts, turned.items[last])
