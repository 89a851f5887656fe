"""Which search serves an item table here, by name or by what is there.

All exact ones give the same answers, and so do all scans of the same clusters; speed alone decides between them.
"""

from typing import Literal

from torch import Tensor

from rsir_scale.errors import ConfigError
from rsir_scale.ranking.base import ExactItemSearch
from rsir_scale.ranking.clustered import ClusteredSearch, Semantics, probe_table
from rsir_scale.ranking.clusters import Clusters
from rsir_scale.ranking.compiled import CompiledSearch, PackedTable, takes
from rsir_scale.ranking.exact import ExactSearch
from rsir_scale.ranking.faiss import has_faiss
from rsir_scale.ranking.lists import FaissLists, ListScan, TorchLists

Scan = Literal["auto", "compiled", "torch", "faiss"]


def exact_search(items_VD: Tensor, *, scan: Scan = "auto") -> ExactItemSearch:
    """Return an exact search over `[V + 1, D]`; `auto` takes the compiled one where it was built and serves the table.

    Raises:
        ConfigError: the one that was asked for cannot serve the table here.
        IntegrityError: an item vector is not finite.
    """
    if scan == "faiss":
        raise ConfigError("fidelity.scan=faiss scans clusters only: set fidelity.mode=clustered, or another scan")
    compiled = scan == "compiled" or (scan == "auto" and takes(items_VD))
    return CompiledSearch(items_VD) if compiled else ExactSearch(items_VD)


def clustered_search(
    items_VD: Tensor, clusters: Clusters, *, nprobe: int, semantics: Semantics, scan: Scan = "auto"
) -> ClusteredSearch:
    """Return the search over the nearest clusters; `auto` takes the compiled scan, FAISS or torch.

    The compiled scan comes first where it serves the table, then FAISS where it is installed.

    Raises:
        ConfigError: nprobe is not in 1..C, or what was asked for cannot serve the table here.
        IntegrityError: an item vector is not finite.
    """
    probing = exact_search(probe_table(clusters, device=items_VD.device))
    lists = list_scan(items_VD, clusters, scan)
    return ClusteredSearch(lists, probing, clusters, nprobe=nprobe, semantics=semantics)


def list_scan(items_VD: Tensor, clusters: Clusters, scan: Scan) -> ListScan:
    """Return what scans the clusters' lists; arguments and errors as of `clustered_search`."""
    if scan == "compiled" or (scan == "auto" and takes(items_VD)):
        return PackedTable(items_VD, *clusters.lists(items_VD))
    if scan == "torch" or (scan == "auto" and not has_faiss()):
        return TorchLists(items_VD, clusters)
    return FaissLists(items_VD, clusters)
