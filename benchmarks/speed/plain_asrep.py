"""ASReP's rows written one sequence at a time: what the batched extension is measured against.

Every step encodes the whole context again and scores each training item. Double precision, as the extension has, so
that the rows can be compared.
"""

import numpy as np
import torch

from rsir_scale.augmenters.asrep.augmenter import Asrep
from rsir_scale.augmenters.asrep.extending import Extender
from rsir_scale.augmenters.base import Augmenter
from rsir_scale.augmenters.written import Written
from rsir_scale.data.sequences import Sequences, offsets_of


@torch.inference_mode()
def literal(augmenter: Augmenter, sources: Sequences) -> Written:
    """Write the rows of some sources. Raises SystemExit: the augmenter is another one."""
    if not isinstance(augmenter, Asrep):
        raise SystemExit(f"{type(augmenter).__name__} is not asrep")
    options = augmenter.options
    short = np.flatnonzero((sources.lengths > 0) & (sources.lengths < options.shorter_than))
    own = [sources.row(row).tolist() for row in short.tolist()]
    counts = [min(options.items, options.shorter_than - len(items)) for items in own]
    before = [_items_before(augmenter.extender, items, count) for items, count in zip(own, counts, strict=True)]
    rows = [(row, [*new, *items]) for row, new, items in zip(short, before, own, strict=True) if new]
    return Written(
        source=np.array([row for row, _ in rows], dtype=np.int64),
        trial=np.zeros(len(rows), dtype=np.int64),
        offsets=offsets_of([len(items) for _, items in rows]),
        items=np.array([item for _, items in rows for item in items], dtype=np.int32),
        stops={"not_extended": len(sources) - len(rows)},
    )


def _items_before(extender: Extender, items: list[int], count: int) -> list[int]:
    """The items that the reversed model puts before a sequence, in the order in which they stand there."""
    vectors_KD = extender.model.item_vectors()[extender.known_K]
    context = items[::-1]
    for _ in range(count):
        query_D = extender.model.encode(torch.tensor([context]))[0].float().double()
        score_K = (vectors_KD @ query_D).masked_fill(torch.isin(extender.known_K, torch.tensor(context)), -torch.inf)
        best = int(score_K.argmax())
        if score_K[best] == -torch.inf:
            break
        context = [*context, int(extender.known_K[best])]
    return context[len(items) :][::-1]
