"""A run for `scale.py` whose model is planted, not trained, so that a catalogue of any size has one in a minute.

Comes in: users, items and settings. Goes out: a run directory that stands where training would have left it: a SASRec
whose item vectors share the direction of their cluster in `data.synthetic`'s market, and whose query stays near the
context's last items. How much noise the vectors have is found with the real decoder, so that the check passes a share
of the steps that trained models show. Everything after that is an ordinary run's.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from rsir_scale.augmenters.rsir.decode import decode
from rsir_scale.augmenters.rsir.rules import cut_sources, rules_of
from rsir_scale.config.file import apply_overrides, resolve
from rsir_scale.config.settings import Config
from rsir_scale.data.dataset import PreparedDataset, Sequences, from_arrow, open_dataset
from rsir_scale.data.schema import ITEMS, SEQUENCE_ID
from rsir_scale.models.base import Backbone
from rsir_scale.models.checkpoint import build_backbone, copy_weights
from rsir_scale.models.layers import TransformerBlock
from rsir_scale.models.repository import publish_weights
from rsir_scale.models.sasrec import SASRec
from rsir_scale.randomness import Purpose, derive_seed
from rsir_scale.ranking.build import exact_search
from rsir_scale.runs import layout
from rsir_scale.runs.lineage import read_columns
from rsir_scale.runs.open_run import open_run
from rsir_scale.runs.trained import ModelDescription, TrainedModel, publish_model
from rsir_scale.storage.opening import open_store

SEED = 2023
SAMPLE_USERS = 256
ACCEPTANCE = 0.2, 0.7
WANTED_ACCEPTANCE = 0.6  # a trained model on Toys has .60
CLUSTER_ITEMS = 40  # of data.synthetic; checked on the data
LEAST_NOISE, MOST_NOISE = 0.1, 4.0
NORM_SPREAD = 0.1  # of log norms: hardly any help to a scan by falling norm
HISTORY_WEIGHT = 0.5  # of the context's mean in a query, beside its last item


@dataclass(frozen=True)
class Job:
    """One row to measure; all paths absolute. Without `noise`, planting finds out how much it takes."""

    users: int
    items: int
    market: str
    run: str
    overrides: tuple[str, ...]
    noise: float | None = None

    def config(self) -> Config:
        """The settings of its run."""
        return resolve(apply_overrides({"data": {"path": self.market}}, self.overrides))


def plant(job: Job) -> dict[str, Any]:
    """Begin the run and publish a model whose check passes `WANTED_ACCEPTANCE` of the steps; returns its facts."""
    config, dataset = job.config(), open_dataset(job.market)
    sources = _sample(dataset)
    cluster_V = clusters_of(job.items, SEED)
    _check_clusters(sources, cluster_V)
    description = ModelDescription(model=config.model, item_count=dataset.meta.items, max_length=config.data.max_length)
    backbone = build_backbone(description, seed=config.seed).eval()
    noise = job.noise or calibrate(backbone, cluster_V, sources, config, dataset)
    plant_weights(backbone, cluster_V, noise=noise)
    store = open_store(job.run)
    with open_run(store, config, dataset):
        weights = publish_weights(store, 0, copy_weights(backbone), attempt=layout.new_attempt())
        publish_model(
            store,
            0,
            TrainedModel(
                description=description, weights=weights, updates=0, best_update=0, validation_score=0.0, train_s=0.0
            ),
        )
    vectors = backbone.item_vectors()
    return {"noise": noise, "table_bytes": vectors.numel() * vectors.element_size()}


def _sample(dataset: PreparedDataset) -> Sequences:
    file = dataset.training_files()[0]
    return from_arrow(
        read_columns(dataset.store, file.path, [SEQUENCE_ID, ITEMS], rows=(0, min(SAMPLE_USERS, file.rows)))
    )


def clusters_of(items: int, seed: int) -> npt.NDArray[np.int64]:
    """The planted cluster of each item of `data.synthetic`'s market, item 1 first."""
    factor = derive_seed(seed, Purpose.SYNTHESIZE, -1) % items
    while math.gcd(factor, items) != 1:
        factor += 1
    slot_V = np.arange(items, dtype=np.int64) * pow(factor, -1, items) % items
    return slot_V // CLUSTER_ITEMS


def _check_clusters(sources: Sequences, cluster_V: npt.NDArray[np.int64]) -> None:
    cluster = cluster_V[sources.items - 1]
    pairs = np.delete(cluster[1:] == cluster[:-1], sources.offsets[1:-1] - 1)
    if pairs.mean() < 0.5:
        raise SystemExit(
            f"only {pairs.mean():.2f} of neighbouring items share a cluster: data.synthetic's clusters are no longer "
            "those that this benchmark plants"
        )


def calibrate(
    backbone: Backbone,
    cluster_V: npt.NDArray[np.int64],
    sources: Sequences,
    config: Config,
    dataset: PreparedDataset,
) -> float:
    """Return the noise that `WANTED_ACCEPTANCE` of the exact check takes, as near as it can be had."""
    exact = config.fidelity.model_copy(update={"mode": "exact"})
    rules = rules_of(config.model_copy(update={"fidelity": exact}), dataset)
    usable = cut_sources(sources, rules)
    usable = usable.select(np.flatnonzero(usable.lengths >= 2))
    few = replace(rules, trials_per_sequence=1)
    low, high = LEAST_NOISE, MOST_NOISE
    noise = found = math.nan
    for _ in range(8):
        noise = math.sqrt(low * high)
        plant_weights(backbone, cluster_V, noise=noise)
        search = exact_search(backbone.item_vectors())
        tally = decode(backbone, search, usable, few, identity=(config.seed, 0)).tally
        found = tally.accepted_steps / max(1, tally.steps)
        if abs(found - WANTED_ACCEPTANCE) < 0.02:
            break
        low, high = (noise, high) if found > WANTED_ACCEPTANCE else (low, noise)
    if not ACCEPTANCE[0] <= found <= ACCEPTANCE[1]:
        raise SystemExit(f"no noise brings the acceptance to {WANTED_ACCEPTANCE}: {noise:.2f} gives {found:.3f}")
    print(f"planted: noise {noise:.3f}, acceptance {found:.3f} on {len(usable)} users", flush=True)
    return noise


@torch.no_grad()
def plant_weights(backbone: Backbone, cluster_V: npt.NDArray[np.int64], *, noise: float) -> None:
    """Set all weights that decide: a query is the last item plus a share of the context's mean, both normalised.

    Args:
        backbone: a SASRec.
        cluster_V: cluster of each item, item 1 first.
        noise: length of an item's own direction beside its cluster's, which has length 1.
    """
    assert isinstance(backbone, SASRec) and isinstance(backbone.items, nn.Embedding)  # noqa: S101, PT018
    draws = torch.Generator().manual_seed(SEED)
    width = backbone.width
    center_CD = torch.randn((int(cluster_V.max()) + 1, width), generator=draws)
    item_VD = torch.randn((len(cluster_V), width), generator=draws).mul_(noise)
    item_VD += center_CD[torch.from_numpy(cluster_V)]
    length_V = torch.randn(len(cluster_V), generator=draws).mul_(NORM_SPREAD).exp_()
    item_VD *= (length_V / item_VD.norm(dim=1))[:, None]
    backbone.items.weight[1:] = item_VD
    for number, block in enumerate(backbone.blocks):
        assert isinstance(block, TransformerBlock)  # noqa: S101
        for layer in (block.attention.project_in, block.attention.project_out, block.contract):
            layer.weight.zero_()
            layer.bias.zero_()
        if number == 0:
            # Equal attention to all positions, and their values as they are.
            block.attention.project_in.weight[2 * width :] = torch.eye(width)
            block.attention.project_out.weight[:] = HISTORY_WEIGHT * torch.eye(width)
