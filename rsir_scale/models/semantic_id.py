"""SASRec whose item vectors are sums of code vectors: items that are alike share most of what is learned of them.

`prepare` finds the codes (`codes`); they are saved with the weights, which therefore suffice to load a model. The
parameters are codebooks · values · D, which stops growing with the catalogue where values do (`codebook_values`).

Shapes: V items, M codebooks, D width.
"""

import math

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rsir_scale.config.settings import ModelConfig
from rsir_scale.data.dataset import Sequences
from rsir_scale.models.codes import codebook_values, collaborative_vectors, numbered, residual_codes
from rsir_scale.models.layers import INITIAL_STD
from rsir_scale.models.sasrec import SASRec


class CodedItems(nn.Module):
    """Item vectors as sums of M + 1 rows of one table.

    Attributes:
        row_VM: int64 `[V + 1, M + 1]`: which rows each item is the sum of. Row 0 of the table is zero and stays so;
            padding is the sum of nothing else. Value c of codebook m is row 1 + m · values + c.
        weight: `[1 + (M + 1) · values, D]`.
        size: values of a codebook.
    """

    row_VM: Tensor

    def __init__(self, *, item_count: int, codebooks: int, size: int, width: int) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("row_VM", torch.zeros((item_count + 1, codebooks + 1), dtype=torch.int64))
        # The sum of all starts as spread out as a vector of its own would.
        std = INITIAL_STD / math.sqrt(codebooks + 1)
        self.weight = nn.Parameter(torch.empty((1 + (codebooks + 1) * size, width)).normal_(std=std))
        with torch.no_grad():
            self.weight[0].zero_()

    def forward(self, item: Tensor) -> Tensor:
        """Return the vectors `[..., D]` of items, int64 0..V."""
        return self._sums(self.row_VM[item.reshape(-1)]).view(*item.shape, -1)

    def table(self) -> Tensor:
        """Return all of them, `[V + 1, D]`."""
        return self._sums(self.row_VM)

    def take_codes(self, code_VM: npt.NDArray[np.int64]) -> None:
        """Set the codes, `[V, M + 1]` in 0..values-1, item 1 first."""
        first_M = 1 + self.size * np.arange(code_VM.shape[1])
        self.row_VM[1:] = torch.from_numpy(code_VM + first_M)

    def _sums(self, row_NM: Tensor) -> Tensor:
        return F.embedding_bag(row_NM, self.weight, mode="sum", padding_idx=0)


class SemanticId(SASRec):
    """SASRec over items known by their codes; `model.codebooks` and `model.codebook_size` say how many."""

    def __init__(self, config: ModelConfig, *, item_count: int, max_length: int) -> None:
        super().__init__(config, item_count=item_count, max_length=max_length)
        self._codebooks = config.codebooks

    def prepare(self, sequences: Sequences, *, item_vectors: npt.NDArray[np.float32] | None, seed: int) -> None:
        """Find the items' codes; see `Backbone.prepare`. Raises ConfigError: see `codes`."""
        if item_vectors is None:
            item_vectors = collaborative_vectors(sequences, item_count=self.item_count, width=self.width, seed=seed)
        found_VM = residual_codes(item_vectors, codebooks=self._codebooks, size=self._coded.size, seed=seed)
        self._coded.take_codes(numbered(found_VM, size=self._coded.size))

    def _new_items(self, config: ModelConfig) -> nn.Module:
        size = codebook_values(config.codebook_size, self.item_count)
        return CodedItems(item_count=self.item_count, codebooks=config.codebooks, size=size, width=config.width)

    def _table(self) -> Tensor:
        return self._coded.table()

    @property
    def _coded(self) -> CodedItems:
        assert isinstance(self.items, CodedItems)  # noqa: S101
        return self.items
