"""The approximate search: only the clusters nearest to a query are looked at (paper Sec. D.5).

Two meanings, which the manifest names. `count`: an own item's rank is its own score against the probed items, wherever
it lies itself; fewer items are seen than there are, so a row may pass that the exact check would fail, and never the
other way. `membership`, the paper's literal words: an own item that lies in no probed cluster cannot vouch, which fails
rows that the exact check would pass. Both draw the items to explore from the probed clusters.

Shapes: B rows, C clusters, N probed clusters, R own items.
"""

from dataclasses import replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from rsir_scale.errors import ConfigError
from rsir_scale.ranking.base import ItemSearch, SearchQuery, SearchResult, require_finite_queries
from rsir_scale.ranking.clusters import Clusters, probe_query
from rsir_scale.ranking.lists import ListScan

Semantics = Literal["count", "membership"]


class ClusteredSearch:
    """Search among the items of the nearest clusters; see `ItemSearch`.

    Args:
        scan: looks at the clusters it is told.
        probing: the exact search over the clusters' own table; see `probe_table`.
        clusters: of the scanned table.
        nprobe: clusters looked at for a row, 1..C.
        semantics: what vouches.

    Raises:
        ConfigError: nprobe is not in 1..C.
    """

    def __init__(
        self, scan: ListScan, probing: ItemSearch, clusters: Clusters, *, nprobe: int, semantics: Semantics = "count"
    ) -> None:
        if not 1 <= nprobe <= len(clusters):
            raise ConfigError(
                f"fidelity.nprobe={nprobe} is not in 1..{len(clusters)}, the number of clusters: set it lower, "
                "raise fidelity.clusters, or set fidelity.mode=exact"
            )
        self.name = f"clustered/{scan.name}"
        self._scan, self._probing = scan, probing
        self._nprobe, self._semantics = nprobe, semantics
        # At 0, which pads own items, a cluster that does not exist.
        self._cluster_of_V = F.pad(clusters.cluster_V.long(), (1, 0), value=len(clusters))
        self._clusters = len(clusters)
        self._size_C = clusters.cluster_V.long().bincount(minlength=len(clusters))

    def search(self, query: SearchQuery, *, rank_threshold: int, top_candidates: int) -> SearchResult:
        """Answer one step's question; see `ItemSearch`."""
        require_finite_queries(query.query_BD)
        probes_BN = self.probes(query.query_BD)
        if self._semantics == "membership":
            query = replace(query, vouching_BR=query.vouching_BR & self._inside(query.own_BR, probes_BN))
        found = self._scan.search(query, probes_BN, rank_threshold=rank_threshold, top_candidates=top_candidates)
        return replace(found, seen_B=self._size_C.to(probes_BN.device)[probes_BN].sum(1))

    def probes(self, query_BD: Tensor) -> Tensor:
        """The clusters that each query is answered from, nearest first, `[B, N]`."""
        nearest = SearchQuery.for_best(probe_query(query_BD), query_BD.new_zeros((len(query_BD), 1), dtype=torch.int64))
        found = self._probing.search(nearest, rank_threshold=1, top_candidates=self._nprobe)
        return found.candidate_BP - 1

    def _inside(self, own_BR: Tensor, probes_BN: Tensor) -> Tensor:
        probed_BC = torch.zeros((len(own_BR), self._clusters + 1), dtype=torch.bool, device=own_BR.device)
        probed_BC.scatter_(1, probes_BN, True)
        return probed_BC.gather(1, self._cluster_of_V.to(own_BR.device)[own_BR])


def probe_table(clusters: Clusters, *, device: torch.device) -> Tensor:
    """The clusters as an item table of their own, with the padding row that a table has."""
    return F.pad(clusters.probe_CD, (0, 0, 1, 0)).to(device)
