"""Every exact path of this machine against a float64 sort, over a million decisions on random catalogues."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor

from rsir_scale.ranking.base import ItemSearch, SearchQuery
from rsir_scale.ranking.clustered import ClusteredSearch, probe_table
from rsir_scale.ranking.compiled import CompiledSearch, PackedTable, instructions
from rsir_scale.ranking.exact import ExactSearch
from rsir_scale.ranking.score import exact_scores
from tests.ranking.test_clustered import some_clusters
from tests.ranking.worlds import alike, trained_like

ROWS = 1000
DECISIONS = 1_000_000


def paths(items_VD: Tensor) -> dict[str, ItemSearch]:
    """All that claims to be exact here: in torch, each set of instructions, and all clusters probed by each."""
    clusters = some_clusters(items_VD, 7)
    found: dict[str, ItemSearch] = {"torch": ExactSearch(items_VD)}
    for name in instructions():
        found[name] = CompiledSearch(items_VD, using=name)
        scan = PackedTable(items_VD, *clusters.lists(items_VD), using=name)
        probing = ExactSearch(probe_table(clusters, device=items_VD.device))
        found[f"all clusters, {name}"] = ClusteredSearch(scan, probing, clusters, nprobe=7)
    return found


def better_items(items_VD: Tensor, query: SearchQuery) -> tuple[Tensor, Tensor]:
    """Place of the best vouching item in each row's sorted scores, V where none may vouch; and all scores."""
    row_N = torch.arange(len(query.query_BD)).repeat_interleave(len(items_VD))
    item_N = torch.arange(len(items_VD)).repeat(len(query.query_BD))
    score_BV = exact_scores(query.query_BD[row_N], items_VD[item_N]).view(len(query.query_BD), -1)
    own_BR = score_BV.gather(1, query.own_BR).masked_fill(~query.vouching_BR, float("-inf"))
    sorted_BV = score_BV[:, 1:].sort(1).values
    target_B1 = own_BR.amax(1, keepdim=True)
    better_B = sorted_BV.shape[1] - torch.searchsorted(sorted_BV, target_B1, right=True)[:, 0]
    return torch.where(query.vouching_BR.any(1), better_B, sorted_BV.shape[1]), score_BV


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_million_decisions_are_those_of_a_float64_sort() -> None:
    numbers = np.random.default_rng(0)
    worlds: list[Callable[..., tuple[Tensor, SearchQuery]]] = [trained_like, trained_like, alike]
    decisions: dict[str, int] = {}
    passed = catalogues = 0
    while min(decisions.values(), default=0) < DECISIONS:
        make = partial(worlds[catalogues % 3], int(numbers.integers(2**31)), rows=ROWS)
        items_VD, query = make(items=int(numbers.integers(20, 800)), width=int(numbers.choice([8, 24, 64])))
        copies = torch.from_numpy(numbers.integers(1, len(items_VD), (2, len(items_VD) // 4)))
        items_VD[copies[0]] = items_VD[copies[1]]
        tau = int(numbers.integers(1, min(60, len(items_VD) - 1)))
        better_B, score_BV = better_items(items_VD, query)
        wanted_B = ~query.checked_B | (better_B < tau)
        for name, search in paths(items_VD).items():
            result = search.search(query, rank_threshold=tau, top_candidates=10)
            assert torch.equal(result.passed_B, wanted_B), (name, catalogues)
            checked = query.checked_B & query.vouching_BR.any(1)
            assert torch.equal(result.better_B[checked], better_B[checked].clamp(max=tau)), (name, catalogues)
            best = result.candidate_score_BP[:, 0] > float("-inf")
            chosen = score_BV.gather(1, result.candidate_BP)
            assert torch.equal(chosen[best, 0], result.candidate_score_BP[best, 0]), (name, catalogues)
            decisions[name] = decisions.get(name, 0) + len(wanted_B)
        passed += int(wanted_B.sum())
        catalogues += 1
    print(f"{catalogues} catalogues, {decisions} decisions, {passed / (catalogues * ROWS):.2f} passed, all equal")
    assert 0.1 < passed / (catalogues * ROWS) < 0.9
