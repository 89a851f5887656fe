"""Item tables and questions with real-valued scores: like those of a trained model, or as unlike it as can be."""

import torch
from torch import Tensor

from rsir_scale.ranking.base import SearchQuery


def trained_like(seed: int, *, items: int, rows: int, width: int) -> tuple[Tensor, SearchQuery]:
    """Norms that differ, and own items of which one is near the query in about half of the rows."""
    numbers = torch.Generator().manual_seed(seed)
    items_VD = torch.randn((items + 1, width), generator=numbers) * torch.rand((items + 1, 1), generator=numbers)
    query_BD = torch.randn((rows, width), generator=numbers)
    own_BR = torch.randint(0, items + 1, (rows, 6), generator=numbers)
    near_B = torch.rand(rows, generator=numbers) < 0.5
    near_B &= own_BR[:, 0] > 0
    items_VD[own_BR[near_B, 0]] += query_BD[near_B]
    return items_VD, _question(query_BD, own_BR, items, numbers)


def alike(seed: int, *, items: int, rows: int, width: int) -> tuple[Tensor, SearchQuery]:
    """A few vectors, each of many items, so that most scores tie or nearly tie."""
    numbers = torch.Generator().manual_seed(seed)
    few = torch.randn((3, width), generator=numbers)
    few[1] = few[0] * (1 + 1e-6)
    items_VD = few[torch.randint(0, 3, (items + 1,), generator=numbers)]
    query_BD = torch.randn((rows, width), generator=numbers)
    return items_VD, _question(query_BD, torch.randint(0, items + 1, (rows, 3), generator=numbers), items, numbers)


def _question(query_BD: Tensor, own_BR: Tensor, items: int, numbers: torch.Generator) -> SearchQuery:
    rows = len(query_BD)
    repeated_BRR = own_BR[:, :, None] == own_BR[:, None, :]
    own_BR = own_BR.masked_fill(repeated_BRR.tril(-1).any(2), 0)
    return SearchQuery(
        query_BD=query_BD,
        own_BR=own_BR,
        vouching_BR=(torch.rand(own_BR.shape, generator=numbers) < 0.8) & (own_BR > 0),
        checked_B=torch.rand(rows, generator=numbers) < 0.8,
        explore_B=torch.rand(rows, generator=numbers) < 0.6,
        banned_BL=torch.randint(0, items + 1, (rows, 5), generator=numbers),
    )
