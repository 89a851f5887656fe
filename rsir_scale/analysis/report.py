"""A finished run, looked at iteration by iteration: `rsir analyse`.

Comes in: a run and its dataset. Goes out: one JSON-ready mapping with a row for each theta_k: how dense and how
predictable the D_k is that it was trained on, and what its top-n lists for the test users are like. On request also
how much noise its generation let through (planted markets only), how sharp its minimum is, and how far its queries move
along what was generated. Nothing is written.
"""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from rsir_scale.analysis.corpus import corpus_of
from rsir_scale.analysis.leakage import Leak, against_breakdown, leaks, planted_market, real_noise
from rsir_scale.analysis.model_lists import describe_model
from rsir_scale.analysis.sharpness import Minimum, sample_batch
from rsir_scale.analysis.sharpness import describe as around
from rsir_scale.analysis.tangent import movement, neighbours
from rsir_scale.data.dataset import PreparedDataset
from rsir_scale.errors import InputError
from rsir_scale.evaluation.evaluate import test_set
from rsir_scale.models.repository import load_trained
from rsir_scale.runs.begun import check_dataset
from rsir_scale.runs.manifest import Manifest, read_chain
from rsir_scale.runs.run import Run


def analyse(run: Run, *, top: int, market_seed: int | None = None, sharpness: bool = False) -> dict[str, Any]:
    """Describe every iteration that a run has finished.

    Args:
        run: with one iteration or more.
        top: items of a list, 1..V.
        market_seed: of the planted market that the dataset is; None: no leakage is counted.
        sharpness: whether to look around each minimum, and at how far queries move; takes minutes on a large model.

    Returns:
        `users` and `items`; `iterations`, one mapping each; with a market also `real_noise`, the share of noise among
        real steps, and `breakdown`, the steps of the recursion against the paper's bound.

    Raises:
        InputError: the run has finished no iteration, the dataset is another one, or not that market; `top` is out of
            range.
        IntegrityError: a file of the run is damaged.
    """
    dataset = run.dataset
    check_dataset(run)
    manifests = read_chain(run.store)
    if not manifests:
        raise InputError(f"{run.store.root} has finished no iteration yet: let the command that began it go on first")
    market = None if market_seed is None else planted_market(dataset, market_seed)
    real = dataset.training_sequences()
    users = test_set(real, dataset.held_out())
    rows = [corpus_of(run, manifest.iteration, real) for manifest in manifests]
    for row in rows:
        row |= describe_model(run, row["iteration"], users, (top,))
    if sharpness:
        for row, minimum in zip(rows, _minima(run, manifests), strict=True):
            row |= minimum
    told: dict[str, Any] = {"users": dataset.meta.users, "items": dataset.meta.items, "iterations": rows}
    if market is None:
        return told
    generations = sum(manifest.generation is not None for manifest in manifests)
    found = list(leaks(run, market, generations))
    for row, leak in zip(rows, found, strict=False):  # the last theta_k writes nothing
        row |= _leakage(leak)
    return told | {"real_noise": real_noise(market, real), "breakdown": _breakdown(manifests, found, dataset)}


def _minima(run: Run, manifests: list[Manifest]) -> Iterator[dict[str, Any]]:
    """Each theta_k on one sample of D_0, and on one of what theta_0 wrote, if it did."""
    config = run.config
    batch = sample_batch(run.dataset.training_sequences(), max_length=config.data.max_length, seed=config.seed)
    near = None if manifests[0].generation is None else neighbours(run, seed=config.seed)
    base = Minimum(load_trained(run, 0), batch)
    for manifest in manifests:
        backbone = load_trained(run, manifest.iteration)
        moved = None if near is None else movement(backbone, near)
        told: dict[str, Any] = dict(around(Minimum(backbone, batch), base, seed=config.seed))
        yield told | ({} if moved is None else {f"moved_{name}": value for name, value in asdict(moved).items()})


def _leakage(leak: Leak) -> dict[str, Any]:
    return {
        "accepted_items": leak.accepted,
        "leakage": leak.noise / leak.accepted if leak.accepted else None,
        "leakage_by_chance": leak.by_chance / leak.accepted if leak.accepted else None,
    }


def _breakdown(manifests: list[Manifest], found: list[Leak], dataset: PreparedDataset) -> list[dict[str, Any]]:
    return against_breakdown(manifests, found, real_pairs=dataset.meta.training_pairs, item_count=dataset.meta.items)
