"""Scans of probed clusters in plain torch and by FAISS. Both answer exactly within the clusters they are told to probe.

Shapes: B rows, C clusters, D width, N probed clusters, P candidates, S items found for a row, V items.
"""

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from rsir_scale.errors import ConfigError
from rsir_scale.ranking.answer import answer, best_first, best_vouchers, judge, without
from rsir_scale.ranking.base import SearchQuery, SearchResult, require_finite_items
from rsir_scale.ranking.clusters import Clusters
from rsir_scale.ranking.faiss import load_faiss
from rsir_scale.ranking.score import exact_own_scores, rounding_band

_SCORES_PER_BLOCK = 1_000_000
_SPARE = 8  # items asked of FAISS beyond those wanted: scores that close decide the order at the cut
_GPU_LIMIT = 2048  # of FAISS, for items and clusters a query


class ListScan(Protocol):
    """Answers a step's question from some clusters of an item table.

    Attributes:
        name: the implementation.
    """

    name: str

    def search(
        self, query: SearchQuery, probes_BN: Tensor, *, rank_threshold: int, top_candidates: int
    ) -> SearchResult:
        """Answer as `ItemSearch` does, if the catalogue were each row's probed clusters; own items count anyway."""
        ...


class TorchLists:
    """Every probed item scored exactly: slow, on any device, and the reference for the others."""

    name = "torch"

    def __init__(self, items_VD: Tensor, clusters: Clusters) -> None:
        """Order the items by cluster. Raises IntegrityError: a vector is not finite."""
        require_finite_items(items_VD)
        self.item_count = len(items_VD) - 1
        self._items_VD = items_VD.detach()
        order_V, begin_C = clusters.lists(items_VD)
        self._order_V = torch.from_numpy(order_V).long().to(items_VD.device)
        self._begin_C = torch.from_numpy(begin_C).to(items_VD.device)

    def search(
        self, query: SearchQuery, probes_BN: Tensor, *, rank_threshold: int, top_candidates: int
    ) -> SearchResult:
        """Answer; see `ListScan`."""
        size_B = self._sizes(probes_BN).sum(1)
        rows = max(1, _SCORES_PER_BLOCK // max(1, int(size_B.max()))) if len(size_B) else 1
        pieces = [
            settle(
                _rows(query, slice(begin, begin + rows)),
                self._items_VD,
                self._members(probes_BN[begin : begin + rows]),
                rank_threshold=rank_threshold,
                top_candidates=top_candidates,
            )
            for begin in range(0, max(1, len(probes_BN)), rows)
        ]
        return SearchResult(*(torch.cat(columns) for columns in zip(*(vars(p).values() for p in pieces), strict=True)))

    def _sizes(self, probes_BN: Tensor) -> Tensor:
        return self._begin_C[probes_BN + 1] - self._begin_C[probes_BN]

    def _members(self, probes_BN: Tensor) -> Tensor:
        """The items of each row's probed clusters, 0-padded, `[B, S]`."""
        size_BN = self._sizes(probes_BN)
        end_BN = size_BN.cumsum(1)
        place_S = torch.arange(int(end_BN[:, -1].max()) if len(end_BN) else 0, device=probes_BN.device)
        place_BS = place_S.expand(len(probes_BN), -1).contiguous()
        which_BS = torch.searchsorted(end_BN, place_BS, right=True)
        inside_BS = which_BS < probes_BN.shape[1]
        which_BS = which_BS.clamp(max=probes_BN.shape[1] - 1)
        shift_BN = self._begin_C[probes_BN] - (end_BN - size_BN)
        where_BS = (place_BS + shift_BN.gather(1, which_BS)).clamp(max=self.item_count - 1)
        return self._order_V[where_BS].masked_fill(~inside_BS, 0)


class FaissLists:
    """An inverted file of FAISS, on the CPU or on a GPU: it finds each row's best items, which are then scored exactly.

    Rows for which an item that FAISS left out might matter are answered by `TorchLists`.
    """

    name = "faiss"

    def __init__(self, items_VD: Tensor, clusters: Clusters) -> None:
        """Fill the index, on the table's device.

        Raises:
            ConfigError: FAISS is not installed, or not for the table's device.
            IntegrityError: a vector is not finite.
        """
        self._plain = TorchLists(items_VD, clusters)
        self.item_count = self._plain.item_count
        self._items_VD = items_VD.detach()
        self._longest = float(self._items_VD[1:].norm(dim=1).max())
        self._on_gpu = items_VD.device.type == "cuda"
        faiss = load_faiss(gpu=self._on_gpu)
        vectors = self._items_VD[1:].float().cpu().numpy()
        ids = torch.arange(1, self.item_count + 1).numpy()
        cluster_V = clusters.cluster_V.long().cpu().numpy()
        # The quantizer is never asked: clusters and probes are given.
        self._quantizer = faiss.IndexFlatIP(vectors.shape[1])
        self._quantizer.add(clusters.probe_CD[:, :-1].float().cpu().contiguous().numpy())
        index = faiss.IndexIVFFlat(self._quantizer, vectors.shape[1], len(clusters), faiss.METRIC_INNER_PRODUCT)
        index.is_trained = True
        pointers = [faiss.swig_ptr(array) for array in (vectors, ids, cluster_V)]
        index.add_core(len(vectors), *pointers)
        self._index = faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), 0, index) if self._on_gpu else index

    def search(
        self, query: SearchQuery, probes_BN: Tensor, *, rank_threshold: int, top_candidates: int
    ) -> SearchResult:
        """Answer; see `ListScan`. Raises ConfigError: more is asked than FAISS can find on a GPU."""
        wanted = top_candidates + int((query.banned_BL > 0).sum(1).max()) if len(probes_BN) else top_candidates
        wanted = min(max(rank_threshold, wanted), self.item_count)
        if self._on_gpu:
            require_within_gpu_limits(wanted=wanted, probes=probes_BN.shape[1])
        count = min(wanted + _SPARE, self.item_count)
        item_BS, score_BS = self._best(query.query_BD, probes_BN, count)
        result = settle(query, self._items_VD, item_BS, rank_threshold=rank_threshold, top_candidates=top_candidates)
        doubtful_B = self._doubtful(query, result, item_BS[:, -1], score_BS[:, -1], rank_threshold=rank_threshold)
        row_B = doubtful_B.nonzero()[:, 0]
        if len(row_B):
            sure = self._plain.search(
                _rows(query, row_B), probes_BN[row_B], rank_threshold=rank_threshold, top_candidates=top_candidates
            )
            for name, column in vars(result).items():
                column[row_B] = getattr(sure, name)
        return result

    def _best(self, query_BD: Tensor, probes_BN: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """What FAISS finds: items, 0 where there are no more, and their scores in single precision."""
        query = query_BD.detach().float().cpu().contiguous().numpy()
        probes = probes_BN.long().cpu().contiguous().numpy()
        distances = torch.zeros(probes.shape).numpy()
        self._index.nprobe = probes.shape[1]
        score_BS, item_BS = self._index.search_preassigned(query, count, probes, distances)
        items = torch.from_numpy(item_BS).clamp(min=0)
        return items.to(query_BD.device), torch.from_numpy(score_BS).to(query_BD.device)

    def _doubtful(
        self, query: SearchQuery, result: SearchResult, item_B: Tensor, score_B: Tensor, *, rank_threshold: int
    ) -> Tensor:
        """Rows in which an item that FAISS left out, below its last one, could change the answer."""
        most_B = score_B.double() + rounding_band(query.query_BD, self._longest)
        target_B = best_vouchers(query, self._items_VD)[1]
        checked_B = query.checked_B & (result.voucher_B > 0)
        counts_B = checked_B & (result.better_B < rank_threshold) & (most_B > target_B)
        ranks_B = result.passed_B & query.explore_B & (most_B >= result.candidate_score_BP[:, -1])
        return (item_B > 0) & (counts_B | ranks_B)


def require_within_gpu_limits(*, wanted: int, probes: int) -> None:
    """Refuse what FAISS cannot find on a GPU.

    Args:
        wanted: items a row: the threshold, or candidates and as many as are banned.
        probes: clusters a row.

    Raises:
        ConfigError: either is above FAISS's limit.
    """
    if max(wanted + _SPARE, probes) > _GPU_LIMIT:
        raise ConfigError(
            f"FAISS on a GPU finds at most {_GPU_LIMIT - _SPARE} items in {_GPU_LIMIT} clusters, not {wanted} in "
            f"{probes}: lower fidelity.rank_threshold, generation.top_candidates or fidelity.nprobe, or set "
            "fidelity.scan=torch"
        )


def settle(
    query: SearchQuery, items_VD: Tensor, item_BS: Tensor, *, rank_threshold: int, top_candidates: int
) -> SearchResult:
    """Answer by the exact scores of the items found for each row, 0-padded."""
    own_score_BR, target_B, voucher_B = best_vouchers(query, items_VD)
    score_BS = exact_own_scores(query.query_BD, items_VD, item_BS)
    better_B = (score_BS > target_B[:, None]).sum(1)
    item_count = len(items_VD) - 1
    judged = judge(query, voucher_B, better_B, rank_threshold=rank_threshold, item_count=item_count)
    top = min(top_candidates, item_count)
    if item_BS.shape[1] < top:
        missing = (0, top - item_BS.shape[1])
        item_BS, score_BS = F.pad(item_BS, missing), F.pad(score_BS, missing, value=float("-inf"))
    score_BP, item_BP = without(query.banned_BL, *best_first(score_BS, item_BS), top)
    item_BP = item_BP.masked_fill(score_BP == float("-inf"), 0)
    return answer(query, own_score_BR, voucher_B, judged, (item_BP, score_BP), item_count=item_count)


def _rows(query: SearchQuery, rows: slice | Tensor) -> SearchQuery:
    return SearchQuery(*(column[rows] for column in vars(query).values()))
