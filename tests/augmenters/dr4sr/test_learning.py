"""What the regenerator learns from: batches, the loss, and what may not depend on the number of workers."""

import torch

from rsir_scale.augmenters.dr4sr.learning import PatternLearner
from rsir_scale.augmenters.dr4sr.network import Regenerator
from rsir_scale.augmenters.dr4sr.options import Dr4srOptions
from rsir_scale.augmenters.dr4sr.patterns import mine_pairs
from rsir_scale.config.settings import TrainingConfig
from rsir_scale.data.sequences import Sequences
from rsir_scale.training.worker import Worker
from tests.augmenters.rsir.worlds import sequences_of

SOURCES = sequences_of([[1, 2, 3, 1], [2, 3], [7, 1, 2, 3, 4, 5, 6], [5, 6, 2, 3]], [3, 9, 4, 0])
OPTIONS = Dr4srOptions(memories=2, feed_forward=16, dropout=0.0, batch_size=5, epochs=3, sharpness=0.5, longest=4)


def learner(sources: Sequences = SOURCES, options: Dr4srOptions = OPTIONS) -> PatternLearner:
    pairs = mine_pairs(sources, span=5, support=2, most=10, identity=(1, 0))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        item_vectors_VD = torch.randn(9, 8)
    return PatternLearner(
        sources,
        pairs,
        item_vectors_VD=item_vectors_VD,
        source_length=7,
        options=options,
        training=TrainingConfig(schedule="linear", weight_decay=0.1, patience=1),
        identity=(1, 0),
    )


def begun(of: PatternLearner) -> Regenerator:
    model = of.build(seed=5)
    of.begin(model)
    return model


def test_the_shares_of_workers_add_up_to_the_loss_of_one() -> None:
    of = learner()
    model = begun(of)
    whole = of.loss(model, 0, Worker())
    shares = [of.loss(model, 0, Worker(rank=rank, size=2)) for rank in range(2)]
    assert whole is not None
    assert torch.allclose(sum(share for share in shares if share is not None), whole)


def test_a_worker_without_a_pair_has_no_loss() -> None:
    of = learner()
    assert of.loss(begun(of), 0, Worker(rank=5, size=6)) is None


def test_an_epoch_has_every_pair_once_and_the_budget_is_epochs() -> None:
    of = learner()
    pairs = len(mine_pairs(SOURCES, span=5, support=2, most=10, identity=(1, 0)))
    assert of.budget.interval == -(-pairs // 5)
    assert of.budget.maximum == of.budget.patience == 3 * of.budget.interval
    seen = [pair for update in range(of.budget.interval) for pair in of.pairs_of(update)]
    assert sorted(seen) == list(range(pairs))


def test_the_settings_of_the_fit_are_the_augmenters_own() -> None:
    config = learner().config
    assert (config.learning_rate, config.schedule, config.weight_decay) == (1e-3, "constant", 0.0)
    assert (config.batch_size, config.item_updates) == (5, "dense")


def test_without_a_difference_between_items_the_loss_is_the_logarithm_of_the_candidates() -> None:
    of = learner(sequences_of([[1, 2, 1], [1, 2, 2, 2]]), OPTIONS.model_copy(update={"sharpness": 0.0}))
    model = begun(of)
    with torch.no_grad():
        model.tokens.weight.zero_()
    # Items 1 and 2, each once, and the end.
    loss = of.loss(model, 0, Worker())
    assert loss is not None
    assert torch.allclose(loss, torch.tensor(3.0).log())


def test_fitting_makes_patterns_likely_and_the_choice_of_a_memory_sharp() -> None:
    of = learner(options=OPTIONS.model_copy(update={"learning_rate": 0.01}))
    model = begun(of).train()
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
    losses = []
    for update in range(30):
        optimiser.zero_grad()
        loss = of.loss(model, update, Worker())
        assert loss is not None
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        losses.append(float(loss.detach()))
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])


def test_only_items_of_sources_count_as_known() -> None:
    assert begun(learner()).known_V.nonzero()[:, 0].tolist() == [1, 2, 3, 4, 5, 6, 7, 10]


def test_the_latest_weights_are_kept() -> None:
    of = learner()
    model = begun(of)
    assert of.score(model, 7, Worker()) > of.score(model, 6, Worker())


def test_building_leaves_the_generator_of_torch_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    learner().build(seed=8)
    assert torch.equal(torch.rand(1), expected)
