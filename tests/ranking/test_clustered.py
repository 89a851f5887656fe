"""A clustered search is exact within the clusters it probes, whatever scans them, and errs to one side outside."""

from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from rsir_scale.errors import ConfigError, IntegrityError
from rsir_scale.ranking import build as build_module
from rsir_scale.ranking import clusters as clusters_module
from rsir_scale.ranking import faiss as faiss_module
from rsir_scale.ranking.base import ItemSearch, SearchQuery, SearchResult
from rsir_scale.ranking.build import Scan, clustered_search, exact_search
from rsir_scale.ranking.clusters import Clusters, Maker, make_clusters, maker_here
from rsir_scale.ranking.compiled import instructions
from rsir_scale.ranking.faiss import load_faiss
from tests.ranking.contract import ItemSearchContract, inherited
from tests.ranking.worlds import alike, trained_like

MAKERS: tuple[Maker, ...] = ("faiss", "scikit-learn")
SCANS: list[Scan] = ["torch", "faiss", *(["compiled"] if instructions() else [])]  # type: ignore[list-item]


def some_clusters(items_VD: Tensor, count: int, seed: int = 0) -> Clusters:
    """Clusters drawn at random, some of them empty: any partition must do."""
    numbers = torch.Generator().manual_seed(seed)
    item_count, width = len(items_VD) - 1, items_VD.shape[1]
    cluster_V = torch.randint(0, max(1, count - 1), (item_count,), generator=numbers, dtype=torch.int32)
    return Clusters(cluster_V, torch.randn((count, width + 1), generator=numbers))


class ProbingAll(ItemSearchContract):
    """With every cluster probed nothing is given up."""

    scan: Scan

    def build(self, items_VD: Tensor) -> ItemSearch:
        """Five clusters, all probed."""
        clusters = some_clusters(items_VD, 5)
        return clustered_search(items_VD.float(), clusters, nprobe=5, semantics="count", scan=self.scan)

    def ask(self, question: object) -> SearchResult:
        """Single precision, which these scans take."""
        query = replace(question.query, query_BD=question.query.query_BD.float())  # type: ignore[attr-defined]
        return super().ask(replace(question, query=query))  # type: ignore[type-var]


class TestProbingAllByTorch(ProbingAll):
    scan = "torch"


class TestProbingAllByFaiss(ProbingAll):
    scan = "faiss"


@pytest.mark.skipif(not instructions(), reason="the kernel was not built: no C++ compiler at installation")
class TestProbingAllCompiled(ProbingAll):
    scan = "compiled"


WORLDS = st.builds(
    lambda world, seed, items: world(seed, items=items, rows=40, width=24),
    st.sampled_from([trained_like, alike]),
    st.integers(0, 2**31),
    st.integers(30, 300),
)


def ask(search: ItemSearch, query: SearchQuery, *, tau: int = 4, top: int = 6) -> SearchResult:
    return search.search(query, rank_threshold=tau, top_candidates=top)


@inherited
@given(world=WORLDS, nprobe=st.integers(1, 6), semantics=st.sampled_from(["count", "membership"]))
def test_all_scans_of_the_same_clusters_agree_to_the_last_bit(world, nprobe, semantics) -> None:
    items_VD, query = world
    clusters = some_clusters(items_VD, 7)
    answers = [
        ask(clustered_search(items_VD, clusters, nprobe=nprobe, semantics=semantics, scan=scan), query)
        for scan in SCANS
    ]
    for other in answers[1:]:
        for name, column in vars(answers[0]).items():
            assert torch.equal(column, getattr(other, name)), name


@inherited
@given(world=WORLDS, nprobe=st.integers(1, 6))
def test_only_probed_items_are_counted_and_chosen(world, nprobe) -> None:
    items_VD, query = world
    clusters = some_clusters(items_VD, 7)
    search = clustered_search(items_VD, clusters, nprobe=nprobe, semantics="count", scan="torch")
    result, probes_BN = ask(search, query), search.probes(query.query_BD)
    score_BV = query.query_BD.double() @ items_VD.double().T
    for row in range(len(query.query_BD)):
        product_C = torch.cat([query.query_BD[row], torch.ones(1)]).double() @ clusters.probe_CD.double().T
        assert set(probes_BN[row].tolist()) == set(product_C.topk(nprobe).indices.tolist())
        probed_V = torch.isin(clusters.cluster_V.long(), probes_BN[row])
        assert int(result.seen_B[row]) == int(probed_V.sum())
        if query.checked_B[row] and result.voucher_B[row] > 0:
            own = score_BV[row, result.voucher_B[row]]
            near = 1e-12 * float(score_BV[row].abs().max())
            fewest = int((score_BV[row, 1:][probed_V] > own + near).sum())
            most = int((score_BV[row, 1:][probed_V] > own - near).sum())
            assert min(fewest, 4) <= int(result.better_B[row]) <= min(most, 4)
        if query.explore_B[row]:
            chosen = result.candidate_BP[row][result.candidate_BP[row] > 0]
            assert probed_V[chosen - 1].all()


@inherited
@given(world=WORLDS, nprobe=st.integers(1, 6))
def test_counting_probed_items_never_fails_a_row_that_the_exact_check_passes(world, nprobe) -> None:
    items_VD, query = world
    clusters = some_clusters(items_VD, 7)
    exact = ask(exact_search(items_VD), query)
    count = ask(clustered_search(items_VD, clusters, nprobe=nprobe, semantics="count"), query)
    member = ask(clustered_search(items_VD, clusters, nprobe=nprobe, semantics="membership"), query)
    assert count.passed_B[exact.passed_B].all()
    assert count.passed_B[member.passed_B].all()


@inherited
@given(world=WORLDS, nprobe=st.integers(1, 6))
def test_membership_lets_only_items_of_probed_clusters_vouch(world, nprobe) -> None:
    items_VD, query = world
    clusters = some_clusters(items_VD, 7)
    search = clustered_search(items_VD, clusters, nprobe=nprobe, semantics="membership")
    result, probes_BN = ask(search, query), search.probes(query.query_BD)
    for row in (result.voucher_B > 0).nonzero()[:, 0].tolist():
        assert int(clusters.cluster_V[result.voucher_B[row] - 1]) in probes_BN[row].tolist()


def groups(seed: int, *, of: int, count: int, width: int = 16) -> Tensor:
    """A table of `count` far groups of `of` items each, item v in group (v - 1) // of."""
    numbers = torch.Generator().manual_seed(seed)
    centre_CD = 3 * torch.randn((count, width), generator=numbers)
    items_VD = centre_CD.repeat_interleave(of, 0) + 0.1 * torch.randn((of * count, width), generator=numbers)
    return torch.cat([torch.zeros((1, width)), items_VD])


@pytest.mark.parametrize("maker", MAKERS)
def test_k_means_finds_the_groups_that_there_are_and_a_seed_repeats_it(maker: Maker) -> None:
    items_VD = groups(3, of=40, count=10)
    clusters = make_clusters(items_VD, clusters=30, seed=4, maker=maker)
    again = make_clusters(items_VD, clusters=30, seed=4, maker=maker)
    assert torch.equal(clusters.cluster_V, again.cluster_V)
    assert torch.equal(clusters.probe_CD, again.probe_CD)
    group_V = torch.arange(400) // 40
    of_one_group = [len(group_V[clusters.cluster_V == cluster].unique()) <= 1 for cluster in range(30)]
    assert np.mean(of_one_group) > 0.9
    # The nearest cluster to an item's direction holds items of its group.
    search = clustered_search(items_VD, clusters, nprobe=1, semantics="count")
    probes_BN = search.probes(items_VD[1:])
    hit = [
        (group_V[clusters.cluster_V == probe] == group).any()
        for (probe,), group in zip(probes_BN, group_V, strict=True)
    ]
    assert np.mean(hit) > 0.9


@pytest.mark.parametrize("maker", MAKERS)
def test_a_warm_start_keeps_clusters_where_the_items_stayed(maker: Maker) -> None:
    items_VD, _ = trained_like(5, items=600, rows=1, width=16)
    first = make_clusters(items_VD, clusters=12, seed=0, maker=maker)
    moved_VD = items_VD + 0.01 * torch.randn(items_VD.shape, generator=torch.Generator().manual_seed(1))
    warm = make_clusters(moved_VD, clusters=12, seed=9, start=first, maker=maker)
    cold = make_clusters(moved_VD, clusters=12, seed=9, maker=maker)
    kept = (warm.cluster_V == first.cluster_V).float().mean()
    assert kept > 0.8
    assert (cold.cluster_V == first.cluster_V).float().mean() < kept


def test_without_faiss_clusters_are_made_and_scanned_by_what_is_there(monkeypatch) -> None:
    items_VD = groups(3, of=40, count=10)
    for module in (build_module, clusters_module):
        monkeypatch.setattr(module, "has_faiss", lambda: False)
    monkeypatch.setattr(faiss_module, "import_module", pytest.fail)
    assert maker_here() == "scikit-learn"
    clusters = make_clusters(items_VD, clusters=5, seed=4)
    assert len(clusters.cluster_V.unique()) == 5
    name = clustered_search(items_VD.double(), clusters, nprobe=1, semantics="count").name
    assert name == "clustered/torch"


def test_lists_hold_every_item_once_by_cluster_and_falling_norm() -> None:
    items_VD, _ = trained_like(7, items=100, rows=1, width=8)
    clusters = some_clusters(items_VD, 6)
    order_V, begin_C = clusters.lists(items_VD)
    assert sorted(order_V.tolist()) == list(range(1, 101))
    norm_V = items_VD.norm(dim=1).numpy()
    for cluster, (begin, end) in enumerate(pairwise(begin_C.tolist())):
        members = order_V[begin:end]
        assert (clusters.cluster_V.numpy()[members - 1] == cluster).all()
        assert (np.diff(norm_V[members]) <= 1e-6).all()


@pytest.mark.parametrize(("clusters", "nprobe", "names"), [(101, 1, r"fidelity\.clusters=101"), (5, 6, "nprobe=6")])
def test_more_than_there_is_is_refused(clusters: int, nprobe: int, names: str) -> None:
    items_VD, _ = trained_like(7, items=100, rows=1, width=8)
    with pytest.raises(ConfigError, match=names):
        clustered_search(items_VD, make_clusters(items_VD, clusters=clusters, seed=0), nprobe=nprobe, semantics="count")


@pytest.mark.parametrize(
    ("tau", "top", "banned", "nprobe"), [(2041, 5, 1, 1), (5, 2040, 1, 1), (5, 2000, 41, 1), (5, 5, 1, 2049)]
)
def test_more_than_faiss_finds_on_a_gpu_is_refused(monkeypatch, tau: int, top: int, banned: int, nprobe: int) -> None:
    """The index lies on the CPU here: the refusal comes before it is asked."""
    items_VD, query = trained_like(3, items=3000, rows=4, width=4)
    query = replace(query, banned_BL=torch.arange(1, banned + 1).expand(4, -1))
    clusters = some_clusters(items_VD, 2049)
    search = clustered_search(items_VD, clusters, nprobe=nprobe, semantics="count", scan="faiss")
    assert len(ask(search, query, tau=tau, top=top).passed_B) == 4
    monkeypatch.setattr(search._scan, "_on_gpu", True)
    with pytest.raises(
        ConfigError, match=r"finds at most 2040 items in 2048 clusters, not (2041 in 1|\d+ in 2049): lower"
    ):
        ask(search, query, tau=tau, top=top)


def test_what_faiss_just_finds_on_a_gpu_is_not_refused(monkeypatch) -> None:
    items_VD, query = trained_like(3, items=3000, rows=4, width=4)
    search = clustered_search(items_VD, some_clusters(items_VD, 2048), nprobe=2048, semantics="count", scan="faiss")
    monkeypatch.setattr(search._scan, "_on_gpu", True)
    assert len(ask(search, query, tau=2040).passed_B) == 4


@pytest.mark.parametrize(
    "faiss",
    [SimpleNamespace(), SimpleNamespace(StandardGpuResources=object, get_num_gpus=lambda: 0)],
    ids=["built without GPUs", "sees none"],
)
def test_a_faiss_without_a_gpu_is_refused_where_one_is_asked_for(monkeypatch, faiss: SimpleNamespace) -> None:
    monkeypatch.setattr(faiss_module, "import_module", lambda name: faiss)
    with pytest.raises(ConfigError, match=r"generation\.use_gpu=true, but this FAISS has no GPU"):
        load_faiss(gpu=True)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("scan", SCANS)
def test_items_that_are_not_finite_are_refused_before_they_are_clustered_or_scanned(value: float, scan: Scan) -> None:
    items_VD, _ = trained_like(3, items=60, rows=1, width=4)
    clusters = some_clusters(items_VD, 5)
    items_VD[7, 2] = value
    with pytest.raises(IntegrityError, match="item_index 7 is not finite"):
        make_clusters(items_VD, clusters=5, seed=0)
    with pytest.raises(IntegrityError, match="item_index 7 is not finite"):
        clustered_search(items_VD, clusters, nprobe=2, semantics="count", scan=scan)


def test_faiss_scans_no_whole_catalogue() -> None:
    with pytest.raises(ConfigError, match=r"fidelity\.scan=faiss"):
        exact_search(torch.ones((4, 2)), scan="faiss")
