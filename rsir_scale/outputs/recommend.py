"""Putting the best iteration to use: top items for the users of the log, or for any list of items.

Comes in: a finished iteration. Goes out: ranked items with scores, under the log's own ids. This is use, not
evaluation: a user's context is all that is known of them, held-out items included, and which iteration is best is
decided by validation NDCG@20 alone. Items of the context are not recommended where `evaluation.mask_history` is set.
The exact search finds the items, so scores are float64 sums and an order holds to the last bit.

Shapes: B rows, P recommended items.
"""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from rsir_scale.data.dataset import PreparedDataset, Sequences
from rsir_scale.data.schema import ITEM_ID, USER_ID
from rsir_scale.data.sequences import Int64Array, offsets_of
from rsir_scale.data.split import put_back
from rsir_scale.errors import InputError
from rsir_scale.evaluation.rows import answered, encoded, history, packed, threads_for_rows
from rsir_scale.models.base import Backbone
from rsir_scale.models.repository import load_trained
from rsir_scale.outputs.staging import appearing
from rsir_scale.ranking.base import ExactItemSearch, SearchQuery, SearchResult
from rsir_scale.runs.begun import check_dataset, run_to_load
from rsir_scale.runs.manifest import read_chain
from rsir_scale.runs.run import Run
from rsir_scale.runs.selection import best_iteration
from rsir_scale.steps import Tell, counted, silent
from rsir_scale.storage.opening import open_store

RANK, SCORE = "rank", "score"
_ROWS_PER_BLOCK = 1 << 13  # whose queries are held at once
_ITEMS_PER_BLOCK = 1 << 22  # recommended items that are held at once, before they are written
_CANDIDATES_PER_PIECE = 1 << 20  # of one thread
_SUFFIXES = (".parquet", ".csv")
_SCHEMA = pa.schema([(USER_ID, pa.string()), (ITEM_ID, pa.string()), (RANK, pa.int32()), (SCORE, pa.float32())])


@dataclass(frozen=True)
class LoadedModel:
    """A trained backbone with the log's own item ids. Its items are packed at the first question, and stay so.

    Attributes:
        backbone: in evaluation mode.
        item_ids: str[V]; entry j belongs to item index j + 1.
        mask_history: whether items of the context cannot be recommended.
    """

    backbone: Backbone
    item_ids: npt.NDArray[np.object_]
    mask_history: bool

    def recommend(self, item_ids: Sequence[Sequence[str]], top: int) -> list[list[tuple[str, float]]]:
        """Rank the catalogue for each context.

        Args:
            item_ids: contexts, oldest item first, at least one item each; the latest are read.
            top: items to return for each, 1..V; fewer come back where history is masked and leaves fewer.

        Returns:
            For each context (item id, score), best first, equal scores in the catalogue's order.

        Raises:
            InputError: an unknown item, an empty context, or `top` out of range.
        """
        index = {item: place for place, item in enumerate(self.item_ids.tolist(), start=1)}
        contexts = _contexts(item_ids, index)
        items_NP, scores_NP = self.rank(contexts, top)
        return [
            [(str(self.item_ids[item - 1]), float(score)) for item, score in zip(items, scores, strict=True) if item]
            for items, scores in zip(items_NP.tolist(), scores_NP.tolist(), strict=True)
        ]

    @torch.no_grad()
    def rank(self, contexts: Sequences, top: int) -> tuple[Int64Array, npt.NDArray[np.float32]]:
        """Item indices `[N, P]` and scores of each context's best items, best first; item 0 where there are no more.

        Raises:
            InputError: `top` is not in 1..V.
        """
        if not 1 <= top <= self.backbone.item_count:
            raise InputError(
                f"top={top} is not in 1..{self.backbone.item_count}, the catalogue: choose a number in that range"
            )
        items, scores = np.empty((len(contexts), top), np.int64), np.empty((len(contexts), top), np.float32)
        rows = np.arange(len(contexts))
        with threads_for_rows() as threads:
            for first in range(0, len(rows), _ROWS_PER_BLOCK):
                for part, found in self._rank_block(contexts, rows[first : first + _ROWS_PER_BLOCK], top, threads):
                    items[part] = found.candidate_BP.cpu().numpy()
                    scores[part] = found.candidate_score_BP.cpu().numpy()
        return items, scores

    @cached_property
    def _packed(self) -> tuple[ExactItemSearch, torch.device]:
        return packed(self.backbone)

    def _rank_block(
        self, contexts: Sequences, rows: Int64Array, top: int, threads: Executor
    ) -> Iterator[tuple[Int64Array, SearchResult]]:
        search, device = self._packed
        query_BD = encoded(self.backbone, contexts, rows, device=device)
        banned_BL = history(contexts, rows, masked=self.mask_history, device=device)

        def best(piece: slice) -> SearchResult:
            asked = SearchQuery.for_best(query_BD[piece], banned_BL[piece])
            return search.search(asked, rank_threshold=1, top_candidates=top)

        most = max(1, _CANDIDATES_PER_PIECE // (top + banned_BL.shape[1]))
        for piece, found in answered(threads, len(rows), best, most=most):
            yield rows[piece], found


def load_model(
    run_path: str | Path, iteration: int | None = None, *, device: str = "cpu", backbone: str | None = None
) -> LoadedModel:
    """Load a model of a run; `rsir_scale.load_model` is this.

    Args:
        run_path: the run directory; its dataset must lie where `data.path` says.
        iteration: None for the best by validation NDCG@20.
        device: where the backbone goes.
        backbone: the class of your own that the run was made with, `package.module:Class`; no other is imported.

    Raises:
        ConfigError: the run was made with a class of its maker's, and `backbone` does not name it.
        InputError: no run, no finished iteration, no such iteration, or the dataset is not the run's.
        IntegrityError: a file is damaged.
    """
    return _load(run_to_load(open_store(run_path), backbone), iteration, device=device)


def recommend(
    run: Run,
    *,
    top: int,
    users: Sequence[str] | None,
    out: str | Path,
    iteration: int | None = None,
    tell: Tell = silent,
) -> Path:
    """Write the best items of users: user_id, item_id, rank (from 1), score; Parquet or CSV by the suffix of `out`.

    Args:
        run: on the dataset that it was made from.
        top: items for each user, 1..V.
        users: the log's user ids, in the order wanted; None for all.
        out: a path that does not exist, ending in .parquet or .csv.
        iteration: None for the best by validation NDCG@20.
        tell: is told how far it is.

    Returns:
        The path written.

    Raises:
        InputError: an unknown user, iteration or suffix, `top` out of range, or `out` exists.
        IntegrityError: a file is damaged.
    """
    if Path(out).suffix not in _SUFFIXES:
        raise InputError(f"{out} ends in neither {' nor '.join(_SUFFIXES)}: name a file that does")
    rows = _user_rows(run.dataset, users)
    model = _load(run, iteration)
    held_out = run.dataset.held_out()
    contexts = put_back(run.dataset.training_sequences(), held_out.validation, held_out.test)
    with appearing(out) as staging, staging.open("wb") as file:
        write = _write_parquet if Path(out).suffix == ".parquet" else _write_csv
        write(file, _tables(model, run.dataset, contexts, rows, top, tell))
    return Path(out)


def _load(run: Run, iteration: int | None, *, device: str = "cpu") -> LoadedModel:
    check_dataset(run)
    store, manifests = run.store, read_chain(run.store)
    chosen = best_iteration(manifests) if iteration is None else iteration
    if chosen is None:
        raise InputError(f"{store.root} has finished no iteration yet: let the command that began it go on first")
    if not 0 <= chosen < len(manifests):
        raise InputError(
            f"iteration {chosen}: {store.root} has finished iterations 0..{len(manifests) - 1}: choose one"
        )
    backbone = load_trained(run, chosen, device=device)
    return LoadedModel(backbone, run.dataset.item_ids(), run.config.evaluation.mask_history)


def _user_rows(dataset: PreparedDataset, users: Sequence[str] | None) -> Int64Array:
    if users is None:
        return np.arange(dataset.meta.users)
    index = {user: place for place, user in enumerate(dataset.user_ids().tolist())}
    unknown = next((user for user in users if user not in index), None)
    if unknown is not None:
        raise InputError(f"user {unknown!r} is not in the dataset {dataset.path}: name users of its log")
    return np.array([index[user] for user in users], dtype=np.int64)


def _tables(
    model: LoadedModel,
    dataset: PreparedDataset,
    contexts: Sequences,
    rows: Int64Array,
    top: int,
    tell: Tell,
) -> Iterator[pl.DataFrame]:
    user_ids, item_ids = dataset.user_ids(), model.item_ids
    block_rows = max(1, min(_ROWS_PER_BLOCK, _ITEMS_PER_BLOCK // max(1, top)))
    report = counted(tell, "recommending", len(rows), "user")
    for first in range(0, max(1, len(rows)), block_rows):
        block = rows[first : first + block_rows]
        items_NP, scores_NP = model.rank(contexts.select(block), top)
        found = items_NP > 0
        yield pl.DataFrame(
            {
                USER_ID: pl.Series(np.repeat(user_ids[block], top)[found.ravel()], dtype=pl.String),
                ITEM_ID: pl.Series(item_ids[items_NP[found] - 1], dtype=pl.String),
                RANK: np.broadcast_to(np.arange(1, top + 1, dtype=np.int32), found.shape)[found],
                SCORE: scores_NP[found],
            }
        )
        report(first + len(block))


def _write_parquet(file: BinaryIO, tables: Iterable[pl.DataFrame]) -> None:
    with pq.ParquetWriter(file, _SCHEMA, compression="zstd") as writer:
        for table in tables:
            writer.write_table(table.to_arrow().cast(_SCHEMA))


def _write_csv(file: BinaryIO, tables: Iterable[pl.DataFrame]) -> None:
    for place, table in enumerate(tables):
        table.write_csv(file, include_header=place == 0)


def _contexts(item_ids: Sequence[Sequence[str]], index: dict[str, int]) -> Sequences:
    for place, context in enumerate(item_ids):
        if not len(context):
            raise InputError(f"context {place} is empty: a recommendation needs at least one item")
        unknown = next((item for item in context if item not in index), None)
        if unknown is not None:
            raise InputError(f"item {unknown!r} of context {place} is not in the catalogue: leave it out")
    items = np.array([index[item] for context in item_ids for item in context], dtype=np.int32)
    return Sequences(np.arange(len(item_ids)), offsets_of([len(context) for context in item_ids]), items)
