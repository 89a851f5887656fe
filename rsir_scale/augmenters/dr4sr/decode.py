"""Writing: from each memory of a source, greedily, one item after another; many rows at once, each to its own end.

Comes in: a fitted regenerator and sources. Goes out: K rows a source. The leading items of a row are the source's own,
the others any item that occurs in training; none comes twice, and the row ends with the end token or at its longest.

What comes of a source must not depend on the sources beside it, though a product of many rows may round otherwise than
that of a few. So sources of one length stand together and nothing is padded; states are double precision, and the query
is rounded to single, which leaves next to nothing of such a difference; and an item is chosen by its exact score
(`ranking.score`), of equal ones the first by index. In doubles a score differs by some 1e-16 of itself, and two items
that are not alike are rarely as near as 1e-9.

Shapes: B sources, S items of a source, R rows (a source and a memory), T tokens, L items of the longest row, K
memories, P places of the item table, C candidates, D width, H heads, d width of a head.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from rsir_scale.augmenters.dr4sr.network import DecoderBlock, Kept, Regenerator
from rsir_scale.augmenters.dr4sr.options import Dr4srOptions
from rsir_scale.data.sequences import Int64Array, Sequences
from rsir_scale.models.inputs import pad_latest
from rsir_scale.ranking.base import SearchQuery
from rsir_scale.ranking.build import exact_search
from rsir_scale.ranking.score import exact_own_scores

_REMEMBERED = 1 << 24  # numbers of all memories of the sources that are decoded together


@dataclass(frozen=True)
class _Rows:
    """Rows that have not ended.

    Attributes:
        row_R: int64, where each stands among all.
        last_R: int64, its latest token.
        own_RC: int64, places of the source's items and of the end, 0-padded.
        used_RL: int64, places that were written, 0-padded.
        tokens: by block, keys and values of the tokens so far.
        memories: by block, keys and values of the memory.
    """

    row_R: Tensor
    last_R: Tensor
    own_RC: Tensor
    used_RL: Tensor
    tokens: tuple[Kept, ...]
    memories: tuple[Kept, ...]

    def select(self, chosen_N: Tensor) -> "_Rows":
        """Some of the rows."""
        return _Rows(
            row_R=self.row_R[chosen_N],
            last_R=self.last_R[chosen_N],
            own_RC=self.own_RC[chosen_N],
            used_RL=self.used_RL[chosen_N],
            tokens=tuple((key[chosen_N], value[chosen_N]) for key, value in self.tokens),
            memories=tuple((key[chosen_N], value[chosen_N]) for key, value in self.memories),
        )


class Decoder:
    """Decodes with a regenerator, which becomes its own and double precision.

    Args:
        network: in evaluation mode, on the device that decodes.
        options: of the augmenter.
        source_length: items of a source that are read, the latest ones.
        batch_rows: rows decoded together at the most.

    Attributes:
        search_name: what scans the items.

    Raises:
        IntegrityError: an item vector is not finite.
    """

    def __init__(self, network: Regenerator, options: Dr4srOptions, *, source_length: int, batch_rows: int) -> None:
        self._options, self._source_length, self._batch_rows = options, source_length, batch_rows
        # The table of the search holds what may be written and nothing else: place p is token `token_P[p]`.
        known = network.known_V.nonzero()[:, 0]
        self._token_P = torch.cat([known.new_zeros(1), known])
        self._place_V = torch.zeros_like(network.known_V, dtype=torch.int64)
        self._place_V[known] = torch.arange(1, len(known) + 1, device=known.device)
        self._table_PD = network.tokens.weight.detach()[self._token_P].float()
        self._search = exact_search(self._table_PD)
        self.search_name = self._search.name
        self._network = network.double().eval()
        self._blocks = [block for block in network.decoder if isinstance(block, DecoderBlock)]

    @torch.inference_mode()
    def decode(self, sources: Sequences) -> Int64Array:
        """Write from every memory of every source.

        Args:
            sources: N, of any length; one without items leaves rows without items.

        Returns:
            int64 `[N, K, L]`, items in their order, 0 after the end.

        Raises:
            ArithmeticError: a query is not finite.
        """
        written_NKL = np.zeros((len(sources), self._options.memories, self._options.longest), dtype=np.int64)
        for rows in self._of_one_length(sources):
            source_BS = pad_latest(sources, rows, max_length=self._source_length).to(self._token_P.device)
            written_NKL[rows] = self._decode_block(source_BS).cpu().numpy()
        return written_NKL

    def _of_one_length(self, sources: Sequences) -> Iterator[Int64Array]:
        """Sources of one length, so many at a time as there is room for."""
        read = np.minimum(sources.lengths, self._source_length)
        width = self._table_PD.shape[1] * 2 * len(self._blocks) * self._options.memories
        for length in np.unique(read[read > 0]).tolist():
            size = min(self._batch_rows // self._options.memories, _REMEMBERED // (length * width))
            rows = np.flatnonzero(read == length)
            yield from np.split(rows, range(max(1, size), len(rows), max(1, size)))

    def _decode_block(self, source_BS: Tensor) -> Tensor:
        """Decode sources of one length, `[B, K, L]`."""
        options = self._options
        rows = self._begun(source_BS)
        place_RL = torch.zeros_like(rows.used_RL)
        for step in range(options.longest):
            query_RD, rows = self._advanced(rows, step)
            place_R = self._own(query_RD, rows) if step < options.own_items else self._any(query_RD, rows)
            place_RL[rows.row_R, step] = place_R
            rows = replace(rows, last_R=self._token_P[place_R], used_RL=place_RL[rows.row_R])
            going_R = rows.last_R != self._network.end
            if not going_R.all():
                rows = rows.select(going_R.nonzero()[:, 0])
            if not len(rows.row_R):
                break
        token_RL = self._token_P[place_RL].masked_fill_(place_RL == self._place_V[self._network.end], 0)
        return token_RL.view(len(source_BS), options.memories, options.longest)

    def _begun(self, source_BS: Tensor) -> _Rows:
        memory_BSKD = self._network.remember(source_BS)
        memory_RSD = memory_BSKD.transpose(1, 2).flatten(0, 1)
        row_R = torch.arange(len(memory_RSD), device=source_BS.device)
        end_B1 = torch.full_like(source_BS[:, :1], self._network.end)
        own_BC = self._place_V[torch.cat([source_BS, end_B1], 1)]
        return _Rows(
            row_R=row_R,
            last_R=torch.full_like(row_R, self._network.begin),
            own_RC=own_BC.repeat_interleave(self._options.memories, 0),
            used_RL=row_R.new_zeros((len(row_R), self._options.longest)),
            tokens=tuple(block.own.kept(memory_RSD[:, :0]) for block in self._blocks),
            memories=tuple(block.recall.kept(memory_RSD) for block in self._blocks),
        )

    def _advanced(self, rows: _Rows, step: int) -> tuple[Tensor, _Rows]:
        """Read the latest token of each row; return the query after it, float32 `[R, D]`."""
        x_R1D = self._network.embedded(rows.last_R[:, None], step)
        tokens = []
        for block, before, memory in zip(self._blocks, rows.tokens, rows.memories, strict=True):
            x_R1D, kept = block.advance(x_R1D, before, memory)
            tokens.append(kept)
        return x_R1D[:, 0].float(), replace(rows, tokens=tuple(tokens))

    def _own(self, query_RD: Tensor, rows: _Rows) -> Tensor:
        """The best place among the source's own and the end."""
        used_RC = (rows.own_RC[:, :, None] == rows.used_RL[:, None, :]).any(2)
        own_RC = rows.own_RC.masked_fill(used_RC, 0)
        score_RC = exact_own_scores(query_RD, self._table_PD, own_RC)
        is_best_RC = score_RC == score_RC.amax(1, keepdim=True)
        place_R: Tensor = own_RC.masked_fill(~is_best_RC, len(self._token_P)).amin(1)
        return place_R

    def _any(self, query_RD: Tensor, rows: _Rows) -> Tensor:
        """The best place of all."""
        question = SearchQuery.for_best(query_RD, rows.used_RL)
        answer = self._search.search(question, rank_threshold=1, top_candidates=1)
        place_R: Tensor = answer.candidate_BP[:, 0]
        return place_R
