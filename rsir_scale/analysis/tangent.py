"""Does a model move less along what was generated than in any direction? The paper's tangential penalty, measured.

Comes in: a run, and models of it. Goes out: E ||f(s') - f(s)||^2 / ||f(s)||^2 (Eq. 10, of which Eq. 15 is the limit for
small changes), f being the query, for s' a sequence that theta_0 wrote and s its source, cut to equal length. Beside it
stands the same for s' with random items wherever it differs from s. If the penalty works as the paper says, the first
falls from theta_0 to theta_1 and more than the second does. The pairs are the same for all models.

Shapes: B rows, D width.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rsir_scale.data.dataset import Sequences, concatenate, from_arrow
from rsir_scale.data.schema import ITEMS, SEQUENCE_ID
from rsir_scale.data.sequences import Int64Array, offsets_of
from rsir_scale.models.base import Backbone
from rsir_scale.models.inputs import pad_latest
from rsir_scale.randomness import Purpose, uniforms
from rsir_scale.runs.columns import SOURCE_SEQUENCE_ID, START_LENGTH
from rsir_scale.runs.lineage import committed_files
from rsir_scale.runs.owners import kept_rows
from rsir_scale.runs.run import Run

PAIRS = 2000
_ROWS_PER_BLOCK = 512


@dataclass(frozen=True, eq=False)
class Neighbours:
    """Sources and what lies near them, row for row of equal length.

    Attributes:
        sources: the beginnings of users' own sequences.
        generated: of what theta_0 wrote from them.
        random: the sources with random items wherever `generated` differs from them.
    """

    sources: Sequences
    generated: Sequences
    random: Sequences


@dataclass(frozen=True)
class Movement:
    """How far queries move, as a mean over the pairs of their squared distance over the query's squared length.

    Attributes:
        pairs: how many.
        generated: from a source to what was generated.
        random: from a source to random items in as many places.
    """

    pairs: int
    generated: float
    random: float


def neighbours(run: Run, *, pairs: int = PAIRS, seed: int = 0) -> Neighbours:
    """Draw rows of a run's first generation, by identity, with their sources.

    Rows that do not begin as their source does, and those that do not differ from it, are left out.

    Args:
        run: that has settled its first generation.
        pairs: how many at the most.
        seed: of the draw, and of the random items.

    Raises:
        IntegrityError: a part is damaged.
    """
    columns = [SEQUENCE_ID, ITEMS, SOURCE_SEQUENCE_ID, START_LENGTH]
    tables = [table for table in kept_rows(run.store, committed_files(run.store, 0), columns) if table.num_rows]
    written = concatenate([from_arrow(table) for table in tables])
    none = np.empty(0, dtype=np.int64)
    source = np.concatenate([none, *(table.column(SOURCE_SEQUENCE_ID).to_numpy() for table in tables)])
    start = np.concatenate([none, *(table.column(START_LENGTH).to_numpy() for table in tables)])
    order = np.argsort(uniforms(seed, Purpose.PROBE, written.ids), kind="stable")
    real = run.dataset.training_sequences()
    own, new = cut_alike(real.select(source[order]), written.select(order))
    chosen = near_rows(own, new, start[order])[:pairs]
    own, new = own.select(chosen), new.select(chosen)
    return Neighbours(own, new, with_random(own, new, item_count=run.dataset.meta.items, seed=seed))


def near_rows(own: Sequences, new: Sequences, start: Int64Array) -> Int64Array:
    """Return the rows of `new` that begin as `own` does, with `start` items, and differ from it later."""
    row = np.repeat(np.arange(len(own)), own.lengths)
    differs = np.bincount(row, weights=own.items != new.items, minlength=len(own)) > 0
    return np.flatnonzero((start > 0) & differs)


def cut_alike(one: Sequences, other: Sequences) -> tuple[Sequences, Sequences]:
    """Cut the ends off, so that both have equally many items in each row."""
    lengths = np.minimum(one.lengths, other.lengths)

    def cut(sequences: Sequences) -> Sequences:
        position = np.arange(len(sequences.items)) - np.repeat(sequences.offsets[:-1], sequences.lengths)
        return Sequences(
            sequences.ids, offsets_of(lengths), sequences.items[position < np.repeat(lengths, sequences.lengths)]
        )

    return cut(one), cut(other)


def with_random(own: Sequences, new: Sequences, *, item_count: int, seed: int) -> Sequences:
    """Return `own` with random items of the catalogue wherever `new` differs, drawn by the ids of `new`."""
    row = np.repeat(np.arange(len(new)), new.lengths)
    position = np.arange(len(new.items)) - new.offsets[:-1][row]
    drawn = np.floor(uniforms(seed, Purpose.PROBE, new.ids[row], position) * item_count).astype(np.int32) + 1
    return Sequences(new.ids, own.offsets, np.where(own.items != new.items, drawn, own.items).astype(np.int32))


def movement(backbone: Backbone, near: Neighbours) -> Movement | None:
    """Return how far a model's queries move; None without a pair."""
    if not len(near.sources):
        return None
    source_BD = _queries(backbone, near.sources)
    length_B = (source_BD**2).sum(1).clamp(min=torch.finfo(torch.float64).tiny)

    def moved(to: Sequences) -> float:
        return float((((_queries(backbone, to) - source_BD) ** 2).sum(1) / length_B).mean())

    return Movement(len(near.sources), moved(near.generated), moved(near.random))


@torch.inference_mode()
def _queries(backbone: Backbone, sequences: Sequences) -> Tensor:
    blocks = np.array_split(np.arange(len(sequences)), -(-len(sequences) // _ROWS_PER_BLOCK))
    return torch.cat(
        [backbone.encode(pad_latest(sequences, rows, max_length=backbone.max_length)).double() for rows in blocks]
    )
