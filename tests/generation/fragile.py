"""A backbone that dies of, hangs on, raises at or has no numbers for contexts that begin with one item, on order."""

import os
import signal
import time
from collections import Counter
from pathlib import Path

from torch import Tensor, nn

from rsir_scale.config.settings import ModelConfig
from rsir_scale.data.dataset import Sequences
from rsir_scale.models.base import Backbone

FOLDER = "RSIR_TEST_FAULTS"
FAULT = "fragile"
NAME = "tests.generation.fragile:Fragile"


def rarest_first_item(sources: Sequences) -> int:
    """An item that few sources begin with."""
    firsts = Counter(int(sources.row(row)[0]) for row in range(len(sources)))
    return min(firsts, key=lambda item: (firsts[item], item))


class Fragile(Backbone):
    """Sums the vectors so far; the file `fragile` of the faults has KIND:ITEM, KIND of kill, hang, raise or nan."""

    def __init__(self, config: ModelConfig, *, item_count: int, max_length: int) -> None:
        super().__init__(item_count=item_count, max_length=max_length, width=config.width)
        self.items = nn.Embedding(item_count + 1, config.width, padding_idx=0)

    def hidden(self, context_BL: Tensor) -> Tensor:
        order = Path(os.environ.get(FOLDER, "/nowhere"), FAULT)
        kind, _, item = (order.read_text() if order.exists() else "").partition(":")
        if kind == "nan" and not self.training:
            unknown_B11 = (context_BL[:, 0] == int(item))[:, None, None]
            return self.items(context_BL).cumsum(1).masked_fill(unknown_B11, float("nan"))  # type: ignore[no-any-return]
        if kind and not self.training and (context_BL[:, 0] == int(item)).any():
            if kind == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            while kind == "hang":
                time.sleep(0.1)
            raise ArithmeticError(f"{item} cannot be encoded")
        summed: Tensor = self.items(context_BL).cumsum(1)
        return summed

    def item_vectors(self) -> Tensor:
        return self.items.weight
