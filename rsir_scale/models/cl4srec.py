"""CL4SRec: SASRec that also learns to tell two views of a sequence from those of others (Xie et al., ICDE 2022).

Beside the next item's loss stands InfoNCE: of the 2B views of B sequences, each must find the other one of its sequence
by inner product, among all but itself; under `model.similarity: cosine` that is a cosine too, and both temperatures
divide it. A hidden item is a vector of its own, which is no row of the ranked table. What is learned is a SASRec, and
decodes as one.

Shapes: B rows, L positions, D width.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rsir_scale.config.settings import ModelConfig
from rsir_scale.models.encoder import INITIAL_STD
from rsir_scale.models.inputs import parts_by_length
from rsir_scale.models.sasrec import SASRec
from rsir_scale.models.views import Shares, View, two_views


class CL4SRec(SASRec):
    """SASRec with a contrastive loss; `model.contrast_*` say how strong its parts are."""

    def __init__(self, config: ModelConfig, *, item_count: int, max_length: int) -> None:
        super().__init__(config, item_count=item_count, max_length=max_length)
        self.hidden_item = nn.Parameter(torch.empty(config.width).normal_(std=INITIAL_STD))
        self._weight, self._temperature = config.contrast_weight, config.contrast_temperature
        self._shares = Shares(config.contrast_crop, config.contrast_mask, config.contrast_reorder)

    def auxiliary_loss(self, context_BL: Tensor, *, draws: torch.Generator) -> Tensor:
        """Return the weighted InfoNCE of two views of each row; see `Backbone.auxiliary_loss`.

        Rows that another worker has are not among those to tell apart.
        """
        views_VD = torch.cat([self._of_view(view) for view in two_views(context_BL, self._shares, draws=draws)])
        # `training.precision` is the encoder's: a loss stays in single precision.
        with torch.autocast(views_VD.device.type, enabled=False):
            return self._weight * self._info_nce(views_VD.to(self.hidden_item.dtype))

    def _info_nce(self, views_VD: Tensor) -> Tensor:
        """The sum over rows, whose two views are half of the table apart and count half each."""
        rows = len(views_VD) // 2
        similarity_VV = views_VD @ views_VD.T / self._temperature
        itself_VV = torch.eye(2 * rows, dtype=torch.bool, device=views_VD.device)
        other_V = torch.arange(2 * rows, device=views_VD.device).roll(rows)
        return F.cross_entropy(similarity_VV.masked_fill(itself_VV, float("-inf")), other_V, reduction="sum") / 2

    def _of_view(self, view: View) -> Tensor:
        length_B = (view.item_BL > 0).sum(1)
        order_B = length_B.argsort(stable=True)
        vectors = []
        for part in parts_by_length(length_B[order_B].cpu().numpy()):
            row_P = order_B[part.rows]
            item_PL, masked_PL = view.item_BL[row_P, : part.longest], view.masked_BL[row_P, : part.longest]
            vectors_PLD = torch.where(masked_PL[:, :, None], self.hidden_item, self.items(item_PL))
            vectors.append(
                self._through(vectors_PLD)[torch.arange(len(row_P), device=row_P.device), length_B[row_P] - 1]
            )
        return torch.cat(vectors)[order_B.argsort()]
