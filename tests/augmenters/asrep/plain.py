"""The reference: one sequence at a time, each context encoded from its start, each item scored alone."""

import numpy as np
import torch

from rsir_scale.models.base import Backbone


def plain_items_before(model: Backbone, known: list[int], items: list[int], *, count: int) -> list[int]:
    """The items that a reversed model in double precision puts before a sequence, nearest last."""
    vectors = model.item_vectors().detach().float().double().numpy()
    context = items[::-1]
    found: list[int] = []
    for _ in range(count):
        query = model.encode(torch.tensor([context])).detach()[0].float().double().numpy()
        free = [item for item in known if item not in context]
        if not free:
            break
        scores = [float(np.dot(query, vectors[item])) for item in free]
        best = free[scores.index(max(scores))]
        found.append(best)
        context = [*context, best]
    return found[::-1]
