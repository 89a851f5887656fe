"""DR4SR's rows written one sequence at a time, as the authors' code does: what the batched decoder is measured against.

Every step encodes the source and all tokens so far again, and scores the whole catalogue. Patterns are looked up, not
mined: mining is part of preparing. Double precision, as the decoder's states are, so that the rows can be compared.

Shapes: S items of the source, T tokens so far, V tokens, D width.
"""

import numpy as np
import torch
from torch import Tensor

from rsir_scale.augmenters.base import Augmenter
from rsir_scale.augmenters.dr4sr.augmenter import Dr4sr
from rsir_scale.augmenters.dr4sr.network import Regenerator
from rsir_scale.augmenters.dr4sr.options import Dr4srOptions
from rsir_scale.augmenters.written import Written
from rsir_scale.data.sequences import Sequences, offsets_of

_MINUS_INFINITY = float("-inf")


@torch.inference_mode()
def literal(augmenter: Augmenter, sources: Sequences) -> Written:
    """Write all rows of some sources. Raises SystemExit: the augmenter is another one."""
    if not isinstance(augmenter, Dr4sr):
        raise SystemExit(f"{type(augmenter).__name__} is not dr4sr")
    network, options, pairs = augmenter.network, augmenter.options, augmenter.pairs
    latest = augmenter.run.config.data.max_length
    rows: list[tuple[int, int, list[int]]] = []
    for source, sequence_id in enumerate(sources.ids):
        items = sources.row(source).tolist()
        mined = [pairs.row(int(row)).tolist() for row in np.flatnonzero(pairs.ids == sequence_id)]
        made = [_decoded(network, items[-latest:], memory, options) for memory in range(options.memories)]
        trials = [*enumerate(mined), *enumerate(made, start=options.patterns)]
        rows.extend((source, trial, row) for trial, row in trials if len(row) > 1 and row != items)
    return Written(
        source=np.array([source for source, _, _ in rows], dtype=np.int64),
        trial=np.array([trial for _, trial, _ in rows], dtype=np.int64),
        offsets=offsets_of([len(row) for _, _, row in rows]),
        items=np.array([item for _, _, row in rows for item in row], dtype=np.int32),
    )


def _decoded(network: Regenerator, items: list[int], memory: int, options: Dr4srOptions) -> list[int]:
    written: list[int] = []
    source_1S = torch.tensor([items])
    own_V = torch.zeros(len(network.known_V), dtype=torch.bool)
    own_V[[*items, network.end]] = True
    while len(written) < options.longest:
        scores_V = network.tokens.weight @ _query(network, source_1S, [network.begin, *written], memory)
        scores_V[network.known_V == 0] = _MINUS_INFINITY
        scores_V[written] = _MINUS_INFINITY
        if len(written) < options.own_items:
            scores_V[~own_V] = _MINUS_INFINITY
        best = int(scores_V.argmax())
        if best == network.end:
            break
        written.append(best)
    return written


def _query(network: Regenerator, source_1S: Tensor, tokens: list[int], memory: int) -> Tensor:
    memory_1SD = network.remember(source_1S)[:, :, memory]
    x_1TD = network.embedded(torch.tensor([tokens]), 0)
    for block in network.decoder:
        x_1TD = block(x_1TD, memory_1SD, None)
    return x_1TD[0, -1]
