"""Item tables and queries to check fidelity on: of a trained model, or planted, with a wanted acceptance.

What is real of a trained catalogue: the model's item vectors, the sequences, each row's context (a random prefix), its
own items (the rest of it) and the query that the model makes of the context. What is planted, and only where it is
asked for:

- *Copies*, where more items are wanted than the model has: each has the length of its item and a direction that is off
  by a noise of `jitter` lengths. They are no fair stand-in for new items. Of 11,924 trained Toys items the nearest
  other one has a cosine of .71 (median; .59 to .87 for nine in ten); two copies at jitter .3 have .92: near duplicates,
  which lie in clusters together, where real items would fill the space between. At jitter .64 two copies are as far
  from each other as neighbours among the real items. And each better item brings its copies, so that a rank grows by as
  much as the catalogue (at a million items 1 % of the rows pass at tau 20), whereas own items stay what they are.
- A *pull*, where an acceptance is wanted that is above the natural one: each query is turned towards its row's best own
  item, (1 - pull) times its own direction and pull times the item's, by one pull for all rows, the least that lets the
  wanted share pass. Nothing else is moved. Rows whose item scored well pass first, as they do by themselves; but a
  pulled query lies nearer to an item, and to its copies, than a model would put it, which is kinder to clusters.
- *Acceptance 1*: queries as they are, and the best item of the catalogue vouches: no row ends before the whole scan.

Shapes: B rows, D width, L context positions, R own items, V items.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from rsir_scale.data.sequences import Sequences
from rsir_scale.models.repository import load_trained
from rsir_scale.ranking.answer import best_vouchers
from rsir_scale.ranking.base import ItemSearch, SearchQuery
from rsir_scale.ranking.build import exact_search
from rsir_scale.runs.begun import stored_run
from rsir_scale.storage.opening import open_store

OWN = 5
WIDTH = 64
ITEMS_PER_GROUP = 40
NOISE = 0.8  # of an item around its group, in lengths of the group's vector
MISSED = 0.1  # an acceptance this far from the wanted one is refused
HALVINGS = 12
Ask = Callable[[float], tuple[SearchQuery, float]]  # at a strength: the checks, and the share that passes


@dataclass(frozen=True)
class Catalogue:
    """An item table `[V + 1, D]` and checks to make on it.

    Attributes:
        embeddings: where the vectors are from, and whether queries were pulled.
        query: B rows that are checked, and explore nothing.
        jitter: of copied items; None where there are no copies.
        pull: of the queries, 0..1; None where they are as they were made.
    """

    embeddings: str
    items_VD: Tensor
    query: SearchQuery
    jitter: float | None = None
    pull: float | None = None


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


def trained(
    run: Path, *, items: int, batch: int, tau: int, acceptance: float | None, jitter: float, seed: int
) -> Catalogue:
    """A run's theta_0 and random prefixes of its sequences, the rest of each to vouch; see above for what is planted.

    Args:
        run: its directory.
        items: of the catalogue, not fewer than the model has.
        batch: rows.
        tau: the threshold of the wanted acceptance.
        acceptance: the share of rows that shall pass; None for what passes naturally, and 1 for the whole scan.
        jitter: of copied items, in lengths.
        seed: of prefixes and copies.
    """
    stored = stored_run(open_store(run))
    sequences = stored.dataset.training_sequences()
    backbone, numbers = load_trained(stored, 0), np.random.default_rng(seed)
    items_VD = backbone.item_vectors().detach()
    if items < len(items_VD) - 1:
        raise SystemExit(f"--items {items} is below the model's catalogue, {len(items_VD) - 1}")
    query_BD, own_BR = _contexts(sequences, backbone.encode, backbone.max_length, batch, numbers)
    copied = items > len(items_VD) - 1
    table_VD = _enlarged(items_VD, items, jitter, seed) if copied else items_VD
    natural = Catalogue("trained", table_VD, checks(query_BD, own_BR), jitter if copied else None)
    if acceptance is None:
        return natural
    if acceptance == 1.0:
        return replace(natural, query=best_vouches(natural.items_VD, natural.query))
    return _pulled(natural, tau, acceptance)


def _pulled(natural: Catalogue, tau: int, acceptance: float) -> Catalogue:
    """The catalogue with its queries pulled; as it is, where no pull comes nearer to the wanted acceptance."""
    items_VD, query = natural.items_VD, natural.query
    own_BD = normalize(items_VD[best_vouchers(query, items_VD)[2]])
    query_BD, search = normalize(query.query_BD), exact_search(items_VD)

    def ask(pull: float) -> tuple[SearchQuery, float]:
        turned = replace(query, query_BD=torch.lerp(query_BD, own_BD, pull))
        return turned, _passing(search, turned, tau)

    found = _passing(search, query, tau)
    if found >= acceptance:
        return natural
    pull, turned = _strength(ask, acceptance, most=1.0, least=0.0)
    return replace(natural, embeddings="trained-pulled", query=turned, pull=pull)


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


def _enlarged(items_VD: Tensor, items: int, jitter: float, seed: int) -> Tensor:
    numbers = torch.Generator().manual_seed(seed)
    table_VD = torch.empty((items + 1, items_VD.shape[1]))
    table_VD[: len(items_VD)] = items_VD
    for begin in range(len(items_VD), items + 1, 1 << 20):
        places = torch.arange(begin, min(items + 1, begin + (1 << 20)))
        copied_ND = items_VD[1 + (places - 1) % (len(items_VD) - 1)]
        noise_ND = torch.randn(copied_ND.shape, generator=numbers) / copied_ND.shape[1] ** 0.5
        norm_N1 = copied_ND.norm(dim=1, keepdim=True)
        table_VD[places] = norm_N1 * normalize(copied_ND + jitter * norm_N1 * noise_ND)
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
        return query, _passing(search, query, tau)

    if acceptance == 1.0:
        query = best_vouches(items_VD, checks(near_BD, own_BR))
    else:
        query = _strength(ask, acceptance, most=0.0, least=20.0)[1]
    return Catalogue("planted" if spread < 0.3 else "planted-skewed", items_VD, query)


def _strength(ask: Ask, acceptance: float, *, most: float, least: float) -> tuple[float, SearchQuery]:
    """By halving: the strength at which the wanted share of the rows passes, and its checks.

    Args:
        ask: tells the share that passes at a strength.
        acceptance: that is wanted.
        most: the strength at which most rows pass.
        least: the strength at which fewest do.
    """
    for _ in range(HALVINGS):
        middle = (most + least) / 2
        most, least = (middle, least) if ask(middle)[1] > acceptance else (most, middle)
    strength = (most + least) / 2
    query, found = ask(strength)
    if abs(found - acceptance) > MISSED:
        raise SystemExit(f"acceptance {acceptance} cannot be had: at strength {strength:.4f} it is {found:.3f}")
    return strength, query


def _passing(search: ItemSearch, query: SearchQuery, tau: int) -> float:
    """The share of the rows that pass."""
    return float(search.search(query, rank_threshold=tau, top_candidates=1).passed_B.float().mean())


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
