"""Trials that have not begun, set up some thousands at a time and handed out a few at a time, longest sources first.

The order is that of the shard alone: sources by falling length, and a source's trials side by side, so that they begin
together and share what they have in common.

Shapes: B rows, L context positions, R distinct own items.
"""

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from rsir_scale.augmenters.rsir.rules import Rules
from rsir_scale.augmenters.rsir.state import NO_NODE, DecodingRows, Evidence, combine
from rsir_scale.data.dataset import Sequences
from rsir_scale.models.inputs import pad_latest
from rsir_scale.randomness import Purpose, fold, fold_into, uniforms_of

_SET_UP_AT_ONCE = 4096


class Waiting:
    """The trials of a shard that are still to begin.

    Args:
        sources: the shard's source sequences, each of 2 items or more.
        rules: where a context starts and how long it may grow.
        identity: (seed, iteration).
        device: where the tables go.
    """

    def __init__(self, sources: Sequences, rules: Rules, *, identity: tuple[int, int], device: torch.device) -> None:
        order = np.argsort(-sources.lengths, kind="stable")
        self._source = np.repeat(order, rules.trials_per_sequence)
        self._trial = np.tile(np.arange(rules.trials_per_sequence), len(order))
        self._sources, self._rules, self._identity, self._device = sources, rules, identity, device
        self._handed_out = 0
        self._begin = 0  # of the trials that are set up
        self._rows = self._set_up()

    def __len__(self) -> int:
        return len(self._source) - self._handed_out

    def next(self, count: int, *, width: int = 0) -> DecodingRows:
        """Hand out the next `count` trials, or all where there are fewer, in tables `width` wide or as they need."""
        pieces: list[DecodingRows] = []
        while True:
            first = self._handed_out - self._begin
            rows = self._rows.between(first, first + count)
            # The longest source stands first, and the width of what is set up is that of the first of all.
            width = max(width, rows.width_needed())
            pieces.append(rows)
            count -= len(rows)
            self._handed_out += len(rows)
            if count == 0 or len(self) == 0:
                return _joined([piece.resized(width) for piece in pieces])
            self._begin = self._handed_out
            self._rows = self._set_up()

    def _set_up(self) -> DecodingRows:
        block = slice(self._begin, self._begin + _SET_UP_AT_ONCE)
        return begin(
            self._sources,
            self._source[block],
            self._trial[block],
            self._rules,
            identity=self._identity,
            device=self._device,
        )


def begin(
    sources: Sequences,
    source: npt.NDArray[np.int64],
    trial: npt.NDArray[np.int64],
    rules: Rules,
    *,
    identity: tuple[int, int],
    device: torch.device,
) -> DecodingRows:
    """Set up trials at their start.

    Args:
        sources: see `Waiting`, as for the other arguments.
        source: which of them each trial is of.
        trial: its number, 0..m-1.
    """
    key = fold(*identity, sources.ids[source], trial)
    length = sources.offsets[source + 1] - sources.offsets[source]
    limit = length if rules.max_length is None else np.full_like(length, rules.max_length)
    start = np.ones_like(length)
    if rules.start_at_prefix:
        choices = np.minimum(length, limit) - 1
        start = 1 + np.floor(uniforms_of(fold_into(key, 0, Purpose.START)) * choices).astype(np.int64)
    source_BL = pad_latest(sources, source, max_length=int(length.max(initial=1))).to(device)
    start_B = torch.from_numpy(start).to(device)
    own_BR, first_BR = _distinct(source_BL)
    nothing_BL = torch.zeros_like(source_BL, dtype=torch.int32)
    used_BR = (own_BR > 0) & (first_BR < start_B[:, None])
    return DecodingRows(
        source_B=torch.from_numpy(source).to(device),
        trial_B=torch.from_numpy(trial).to(device),
        key_B=torch.from_numpy(key.view(np.int64)).to(device),
        context_BL=torch.where(torch.arange(source_BL.shape[1], device=device) < start_B[:, None], source_BL, 0),
        length_B=start_B,
        start_B=start_B,
        limit_B=torch.from_numpy(limit).to(device),
        source_BL=source_BL,
        node_BL=torch.full_like(source_BL, NO_NODE),
        own_BR=own_BR,
        used_BR=used_BR,
        spent_BR=torch.zeros_like(used_BR) if rules.start_vouches else used_BR,
        proposed_B=torch.zeros_like(start_B, dtype=torch.bool),
        faithful_B=torch.ones_like(start_B, dtype=torch.bool),
        evidence=Evidence(torch.full_like(nothing_BL, -1), nothing_BL, nothing_BL.bool()),
        stop_B=torch.zeros_like(start_B),
    )


def _distinct(items_BL: Tensor) -> tuple[Tensor, Tensor]:
    """Order the items of each row, padding last, and blank every repeat; returns where each first stands, too."""
    padding = torch.iinfo(items_BL.dtype).max
    sorted_BL, place_BL = items_BL.masked_fill(items_BL == 0, padding).sort(dim=1, stable=True)
    repeats_BL = F.pad(sorted_BL[:, 1:] == sorted_BL[:, :-1], (1, 0))
    return sorted_BL.masked_fill(repeats_BL | (sorted_BL == padding), 0), place_BL


def _joined(pieces: list[DecodingRows]) -> DecodingRows:
    if len(pieces) == 1:
        return pieces[0]
    return combine(lambda *columns: torch.cat(columns), *pieces)
