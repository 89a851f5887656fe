"""The fit of the diffusion model: what an update's loss is, and how good the weights are.

Comes in: examples and options. Goes out: a `training.learner.Learner`, which the project's own fit trains, saves and
resumes. Weights are kept by the loss on a fixed sample with fixed noise: nothing is held out for it, because the model
is to learn how these sequences begin, and its worth shows in what is trained on its rows.

Shapes: B rows, M items, D width.
"""

import torch
import torch.distributed as distributed
from torch import Tensor

from rsir_scale.augmenters.diffuasr.denoiser import Denoiser
from rsir_scale.augmenters.diffuasr.examples import Examples, Noisy
from rsir_scale.augmenters.diffuasr.options import DiffuASROptions
from rsir_scale.config.settings import TrainingConfig
from rsir_scale.randomness import Purpose, derive_seed, generator
from rsir_scale.training.batches import Updates, updates_per_pass
from rsir_scale.training.task import Budget
from rsir_scale.training.worker import Worker

_SCORED = 1024  # examples of the fixed sample


class DiffusionLearner:
    """One fit of the diffusion model; see `training.learner.Learner`."""

    name = "augmenter diffuasr"
    rate_setting = "augmenter.learning_rate"
    score_name = "negative loss"

    def __init__(
        self,
        examples: Examples,
        options: DiffuASROptions,
        *,
        training: TrainingConfig,
        identity: tuple[int, int],
    ) -> None:
        """Put a fit together; nothing is computed yet.

        Args:
            examples: at least one.
            options: of the augmenter.
            training: the run's section, which says how many workers there are, and where.
            identity: (seed, iteration).
        """
        self.config = training_config(training, options)
        self.identity = (*identity, int(Purpose.NOISE))
        interval = updates_per_pass(len(examples), options.batch_size)
        self.budget = Budget(interval, interval * options.epochs, interval * options.patience)
        self._examples = examples
        self._options = options
        self._updates = Updates(
            examples.sequences,
            real_count=len(examples),
            batch_size=options.batch_size,
            synthetic_share=None,
            identity=self.identity,
        )

    def build(self, *, seed: int) -> Denoiser:
        """See `Learner.build`."""
        return new_denoiser(self._options, width=self._examples.vectors_VD.shape[1], seed=seed)

    def begin(self, model: Denoiser) -> None:
        """See `Learner.begin`: the first weights owe nothing to the data."""

    def loss(self, model: Denoiser, update: int, worker: Worker) -> Tensor | None:
        """See `Learner.loss`."""
        rows = self._updates.rows(update)
        noisy = self._examples.noisy(rows, seed=derive_seed(*self.identity, update, Purpose.NOISE))
        error = _error_sum(model, noisy.share(worker.rank, worker.size).to(worker.device))
        return None if error is None else error / len(rows)

    @torch.no_grad()
    def score(self, model: Denoiser, update: int, worker: Worker) -> float:  # noqa: ARG002
        """See `Learner.score`: the negative loss on the fixed sample."""
        key = (*self.identity, int(Purpose.SHUFFLE))
        rows = generator(*key).permutation(len(self._examples))[:_SCORED]
        noisy = self._examples.noisy(rows, seed=derive_seed(*key, Purpose.NOISE))
        error = _error_sum(model.eval(), noisy.share(worker.rank, worker.size).to(worker.device))
        total = torch.zeros((), device=worker.device) if error is None else error
        if worker.size > 1:
            distributed.all_reduce(total)
        return -float(total) / len(rows)


def new_denoiser(options: DiffuASROptions, *, width: int, seed: int) -> Denoiser:
    """Return a model whose first weights belong to `seed`; torch's own generator stays as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Denoiser(options, width=width)


def training_config(training: TrainingConfig, options: DiffuASROptions) -> TrainingConfig:
    """How the diffusion model is fitted: on the run's workers, by plain Adam in single precision."""
    own = {
        "learning_rate": options.learning_rate,
        "batch_size": options.batch_size,
        "max_epochs": options.epochs,
        "patience": options.patience,
        "schedule": "constant",
        "weight_decay": 0.0,
        "item_updates": "dense",
        "precision": "float32",
    }
    return training.model_copy(update=own)


def _error_sum(model: Denoiser, noisy: Noisy) -> Tensor | None:
    """Mean squared errors of the noise, and of the classifier's guess where there is one, summed over rows."""
    if len(noisy.x_BMD) == 0:
        return None
    guide_BD = torch.where(noisy.hidden_B[:, None], model.hidden_D, noisy.guide_BD)
    seen_BMD = model(noisy.x_BMD, noisy.step_B, guide_BD)
    error_B: Tensor = (seen_BMD - noisy.noise_BMD).square().mean((1, 2))
    if model.first is not None:
        error_B = error_B + (model.first_item(noisy.x_BMD, noisy.step_B) - noisy.first_BD).square().mean(1)
    return error_B.sum()
