"""Fitting what an iteration's augmenter learns on Ray Train workers: `learning` on the shell of `training.trainer`."""

from rsir_scale.augmenters.opening import augmenter_of
from rsir_scale.generation.learning import Report, fit_share, is_to_be_fitted
from rsir_scale.runs import layout
from rsir_scale.runs.learned import has_learned
from rsir_scale.runs.run import Run
from rsir_scale.training.trainer import RayFit, fit_with_ray


def fit_augmenter_with_ray(run: Run, iteration: int, report: Report) -> None:
    """Fit on `training.workers` workers and leave the weights published; done at once where there is nothing to fit.

    Args:
        run: all nodes see its root, and its dataset, under the same path.
        iteration: k; its shard plan is stored.
        report: called in this thread with the latest progress.

    Raises:
        RsirError: what a worker raised, as it raised it; DivergedError among them.
        ResumableError: workers died more often than is tried again.
    """
    if not is_to_be_fitted(augmenter_of(run, iteration)):
        return
    name = run.config.generation.augmenter
    fit = RayFit(
        name=f"fitting what generation.augmenter={name} learns for iteration {iteration}",
        iteration=iteration,
        work=fit_share,
        folder=layout.learning(iteration),
        is_done=has_learned,
    )
    fit_with_ray(run, fit, report)
