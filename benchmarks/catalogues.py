"""Item tables and queries to check fidelity on: of a trained model, or planted with a wanted acceptance.

Shapes: B rows, D width, L context positions, R own items, V items.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from rsir_scale.data.dataset import open_dataset
from rsir_scale.data.sequences import Sequences
from rsir_scale.models.repository import load_trained
from rsir_scale.ranking.base import SearchQuery
from rsir_scale.ranking.build import exact_search
from rsir_scale.runs.open_run import read_config
from rsir_scale.storage import open_store

OWN = 5
WIDTH = 64
JITTER = 0.3  # of a vector's length, which is kept: copies of trained items stand in for a larger catalogue
ITEMS_PER_GROUP = 40
NOISE = 0.8  # of an item around its group, in lengths of the group's vector


@dataclass(frozen=True)
class Catalogue:
    """An item table `[V + 1, D]` and checks to make on it.

    Attributes:
        embeddings: where the vectors are from.
        query: B rows that are checked, and explore nothing.
    """

    embeddings: str
    items_VD: Tensor
    query: SearchQuery


def checks(query_BD: Tensor, own_BR: Tensor, *, exploring: bool = False) -> SearchQuery:
    """Rows that are all checked by all of their own items; of a generation step, every other one explores as well."""
    rows, device = len(query_BD), query_BD.device
    on_B = torch.ones(rows, dtype=torch.bool, device=device)
    return SearchQuery(
        query_BD=query_BD,
        own_BR=own_BR,
        vouching_BR=own_BR > 0,
        checked_B=on_B,
        explore_B=torch.arange(rows, device=device) % 2 == 0 if exploring else ~on_B,
        banned_BL=own_BR,
    )


def trained(run: Path, *, items: int, batch: int, seed: int) -> Catalogue:
    """A run's theta_0 and random prefixes of its sequences, the rest of each to vouch.

    A larger catalogue than the model's gets jittered copies of its items, which is kinder to clusters than real items
    are; a smaller one is refused.
    """
    store = open_store(run)
    sequences = open_dataset(read_config(store).data.path).training_sequences()
    backbone, numbers = load_trained(store, 0), np.random.default_rng(seed)
    items_VD = backbone.item_vectors().detach()
    if items < len(items_VD) - 1:
        raise SystemExit(f"--items {items} is below the model's catalogue, {len(items_VD) - 1}")
    query_BD, own_BR = _contexts(sequences, backbone.encode, backbone.max_length, batch, numbers)
    return Catalogue("trained", _enlarged(items_VD, items, seed), checks(query_BD, own_BR))


@torch.inference_mode()
def _contexts(
    sequences: Sequences, encode: Callable[[Tensor], Tensor], longest: int, batch: int, numbers: np.random.Generator
) -> tuple[Tensor, Tensor]:
    usable = numbers.permutation(np.flatnonzero(sequences.lengths >= 4))
    rows = [sequences.row(int(row)) for row in np.resize(usable, batch)]
    cuts = [1 + int(numbers.integers(len(row) - 1)) for row in rows]
    context_BL = np.zeros((batch, longest), dtype=np.int64)
    own_BR = np.zeros((batch, max(len(row) for row in rows)), dtype=np.int64)
    for place, (row, cut) in enumerate(zip(rows, cuts, strict=True)):
        read = row[max(0, cut - longest) : cut]
        context_BL[place, : len(read)] = read
        left = np.setdiff1d(row[cut:], row[:cut])
        own_BR[place, : len(left)] = left
    return encode(torch.from_numpy(context_BL)), torch.from_numpy(own_BR)


def _enlarged(items_VD: Tensor, items: int, seed: int) -> Tensor:
    missing = items + 1 - len(items_VD)
    if missing <= 0:
        return items_VD
    numbers = torch.Generator().manual_seed(seed)
    table_VD = torch.empty((items + 1, items_VD.shape[1]))
    table_VD[: len(items_VD)] = items_VD
    for begin in range(len(items_VD), items + 1, 1 << 20):
        places = torch.arange(begin, min(items + 1, begin + (1 << 20)))
        copied_ND = items_VD[1 + (places - 1) % (len(items_VD) - 1)]
        noise_ND = torch.randn(copied_ND.shape, generator=numbers) / copied_ND.shape[1] ** 0.5
        norm_N1 = copied_ND.norm(dim=1, keepdim=True)
        table_VD[places] = norm_N1 * normalize(copied_ND + JITTER * norm_N1 * noise_ND)
    return table_VD


def planted(*, items: int, batch: int, tau: int, acceptance: float, spread: float, seed: int) -> Catalogue:
    """Groups of items, norms log-normal with `spread`, and queries near their own group, farther for fewer acceptances.

    Args:
        acceptance: the share of rows that shall pass at `tau`; 1 makes each row's best item vouch.
    """
    numbers = torch.Generator().manual_seed(seed)
    centre_CD = torch.randn((max(2, items // ITEMS_PER_GROUP), WIDTH), generator=numbers) / WIDTH**0.5
    group_V = torch.randint(0, len(centre_CD), (items + 1,), generator=numbers)
    items_VD = torch.empty((items + 1, WIDTH))
    for begin in range(0, items + 1, 1 << 20):
        part = slice(begin, begin + (1 << 20))
        noise_ND = torch.randn((len(group_V[part]), WIDTH), generator=numbers) * (NOISE / WIDTH**0.5)
        length_N1 = torch.exp(spread * torch.randn((len(noise_ND), 1), generator=numbers))
        items_VD[part] = (centre_CD[group_V[part]] + noise_ND) * length_N1
    own_BR = 1 + torch.randint(0, items, (batch, OWN), generator=numbers)
    own_BR = own_BR.sort(1).values
    own_BR = own_BR.masked_fill(_repeats(own_BR), 0)
    near_BD = items_VD[own_BR[:, -1]]
    noise_BD = torch.randn((batch, WIDTH), generator=numbers) / WIDTH**0.5
    search = exact_search(items_VD)

    def ask(noise: float) -> tuple[SearchQuery, float]:
        query = checks(near_BD + noise * noise_BD, own_BR)
        passed_B = search.search(query, rank_threshold=tau, top_candidates=1).passed_B
        return query, float(passed_B.float().mean())

    low, high = 0.0, 20.0
    for _ in range(12):
        middle = (low + high) / 2
        low, high = (middle, high) if ask(middle)[1] > acceptance else (low, middle)
    query, found = ask((low + high) / 2)
    if acceptance == 1.0:
        query = best_vouches(items_VD, checks(near_BD, own_BR))
    elif abs(found - acceptance) > 0.1:
        raise SystemExit(f"acceptance {acceptance} cannot be planted at {items} items and tau {tau}: reached {found}")
    return Catalogue("planted" if spread < 0.3 else "planted-skewed", items_VD, query)


def best_vouches(items_VD: Tensor, query: SearchQuery) -> SearchQuery:
    """The same rows, each vouched for by the best item there is: all pass, and none before the whole scan."""
    on_B = torch.ones_like(query.checked_B)
    asked = SearchQuery(**(vars(query) | {"checked_B": ~on_B, "explore_B": on_B}))
    asked = SearchQuery(**(vars(asked) | {"banned_BL": torch.zeros_like(query.banned_BL)}))
    best_B1 = exact_search(items_VD).search(asked, rank_threshold=1, top_candidates=1).candidate_BP
    return checks(query.query_BD, best_B1)


def _repeats(sorted_BR: Tensor) -> Tensor:
    """Where a sorted row repeats the item before."""
    return torch.nn.functional.pad(sorted_BR[:, 1:] == sorted_BR[:, :-1], (1, 0))
