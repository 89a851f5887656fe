"""DiffuASR's rows in the plainest way: one sequence at a time, one number at a time, and a full scan for each item."""

import math

import numpy as np
import torch

from rsir_scale.augmenters.diffuasr.denoiser import Denoiser
from rsir_scale.augmenters.diffuasr.options import DiffuASROptions
from rsir_scale.data.sequences import Sequences
from rsir_scale.randomness import Purpose, normals

Vector = np.ndarray


def plain_rows(
    sources: Sequences,
    *,
    model: Denoiser,
    options: DiffuASROptions,
    vectors: Vector,
    known: list[int],
    users: int,
    identity: tuple[int, int],
) -> list[list[int] | None]:
    """The row of each source; None for one that has none. `model` is in float64, `vectors` float32 of equal length."""
    rows: list[list[int] | None] = []
    for index, sequence_id in enumerate(sources.ids.tolist()):
        items = sources.row(index).tolist()
        own = items[options.items :] if sequence_id >= users else items
        if not own or len(own) >= options.shorter_than:
            rows.append(None)
            continue
        sample = _sample(own, sequence_id, model=model, options=options, vectors=vectors, identity=identity)
        rows.append([_nearest(one, vectors, known) for one in sample] + own)
    return rows


def _sample(
    own: list[int],
    sequence_id: int,
    *,
    model: Denoiser,
    options: DiffuASROptions,
    vectors: Vector,
    identity: tuple[int, int],
) -> Vector:
    width = vectors.shape[1]
    x = np.zeros((options.items, width))
    for item in range(options.items):
        for depth in range(width):
            x[item, depth] = normals(*identity, sequence_id, 0, item * width + depth, Purpose.NOISE)
    guide = np.sum([vectors[item].astype(np.float64) for item in own], axis=0) / len(own)
    first = vectors[own[0]].astype(np.float64)
    visited = [options.steps * index // options.sampling_steps for index in range(options.sampling_steps)]
    while visited:
        step = visited.pop()
        noise = _guided_noise(x, step, guide, first, model=model, options=options)
        kept = _kept(step, options.steps)
        clean = (x - math.sqrt(1 - kept) * noise) / math.sqrt(kept)
        after = _kept(visited[-1], options.steps) if visited else 1.0
        x = math.sqrt(after) * clean + math.sqrt(1 - after) * noise
    return x.astype(np.float32)


def _kept(step: int, steps: int) -> float:
    product = 1.0
    for earlier in range(step + 1):
        product *= 1 - (1000 / steps) * (1e-4 + (0.02 - 1e-4) * earlier / (steps - 1))
    return product


def _guided_noise(
    x: Vector, step: int, guide: Vector, first: Vector, *, model: Denoiser, options: DiffuASROptions
) -> Vector:
    x_1MD, step_1 = torch.from_numpy(x)[None], torch.tensor([step])
    with torch.no_grad():
        seen = model(x_1MD, step_1, torch.from_numpy(guide)[None])[0].numpy()
    if options.guidance == "classifier":
        leaf_1MD = x_1MD.clone().requires_grad_()
        guess = model.first_item(leaf_1MD, step_1)[0]
        likelihood = -((guess - torch.from_numpy(first)) ** 2).sum() / 2
        pull = torch.autograd.grad(likelihood, leaf_1MD)[0][0].numpy()
        return seen - options.guidance_scale * math.sqrt(1 - _kept(step, options.steps)) * pull
    with torch.no_grad():
        unguided = model(x_1MD, step_1, model.hidden_D[None])[0].numpy()
    return (1 + options.guidance_scale) * seen - options.guidance_scale * unguided


def _nearest(sample: Vector, vectors: Vector, known: list[int]) -> int:
    best, best_score = 0, -math.inf
    for item in known:
        score = float(np.dot(vectors[item].astype(np.float64), sample.astype(np.float64)))
        if score > best_score:
            best, best_score = item, score
    return best
