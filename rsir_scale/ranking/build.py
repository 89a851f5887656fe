"""Which search serves an item table here. All exact ones give the same answers, so speed alone decides between them."""

from torch import Tensor

from rsir_scale.ranking.base import ItemSearch
from rsir_scale.ranking.compiled import CompiledSearch, takes
from rsir_scale.ranking.exact import ExactSearch


def exact_search(items_VD: Tensor) -> ItemSearch:
    """Build the fastest exact search: compiled for float32 on a CPU where the kernel was built, else plain torch.

    Raises:
        IntegrityError: an item vector is not finite.
    """
    return CompiledSearch(items_VD) if takes(items_VD) else ExactSearch(items_VD)
