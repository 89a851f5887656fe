"""CL4SRec: SASRec that also learns to tell two views of a sequence from those of others (Xie et al., ICDE 2022).

Beside the next item's loss stands InfoNCE: of the 2B views of B sequences, each must find the other one of its sequence
by inner product, among all but itself; under `model.similarity: cosine` that is a cosine too, and both temperatures
divide it. A hidden item is a vector of its own, which is no row of the ranked table. What is learned is a SASRec, and
decodes as one.

Shapes: B rows, L positions, V views, T tokens, D width.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rsir_scale.config.settings import ModelConfig
from rsir_scale.models.layers import INITIAL_STD
from rsir_scale.models.packed import pack
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
        one, other = two_views(context_BL, self._shares, draws=draws)
        key = int(torch.randint(2**62, (), generator=draws))
        both = View(torch.cat([one.item_BL, other.item_BL]), torch.cat([one.masked_BL, other.masked_BL]))
        views_VD = self._of_views(both, key)
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

    def _of_views(self, views: View, key: int) -> Tensor:
        """The query after the last item of each view; dropout is keyed by the view's number."""
        order_V = (views.item_BL > 0).sum(1).argsort(stable=True)
        contexts = pack(views.item_BL[order_V], identity_B=order_V.cpu().numpy(), key=key)
        masked_T = views.masked_BL[order_V][contexts.row_T, contexts.position_T]
        vectors_TD = torch.where(masked_T[:, None], self.hidden_item, self.items(contexts.item_T))
        query_TD = self._through_packed(vectors_TD, contexts)
        return query_TD[contexts.offset_B1[1:].to(query_TD.device) - 1][order_V.argsort()]
