"""The exact search keeps the contract of `ItemSearch`, however its rows are split into blocks."""

import pytest
import torch
from torch import Tensor

from rsir_scale.ranking import exact
from rsir_scale.ranking.base import ExactItemSearch, SearchQuery
from rsir_scale.ranking.exact import ExactSearch
from tests.ranking.contract import ExactItemSearchContract


class TestExactSearch(ExactItemSearchContract):
    def build(self, items_VD: Tensor) -> ExactItemSearch:
        return ExactSearch(items_VD)


class TestExactSearchInSmallBlocks(ExactItemSearchContract):
    """Blocks of three rows or fewer, so that nearly every question takes several."""

    @pytest.fixture(autouse=True, scope="class")
    @staticmethod
    def _small_blocks():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(exact, "_SCORES_PER_BLOCK", 90)
            yield

    def build(self, items_VD: Tensor) -> ExactItemSearch:
        return ExactSearch(items_VD)


def test_items_that_tie_at_the_cut_are_kept_by_item_index() -> None:
    on_B = torch.ones(1, dtype=torch.bool)
    one_B1 = torch.ones((1, 1), dtype=torch.int64)
    query = SearchQuery(torch.ones((1, 1)), one_B1, one_B1.bool(), on_B, on_B, one_B1 * 0)
    search = ExactSearch(torch.ones((41, 1)))
    kept = {
        top: search.search(query, rank_threshold=1, top_candidates=top).candidate_BP[0].tolist() for top in (1, 3, 20)
    }
    assert kept == {top: list(range(1, top + 1)) for top in kept}
