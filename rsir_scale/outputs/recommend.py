"""Putting the best iteration to use: top items for the users of the log, or for any list of items.

Comes in: a finished iteration and a request. Goes out: ranked items with scores, under the log's own ids. This is use,
not evaluation: a user's context is all that is known of them, held-out items included, and which iteration is best is
decided by validation NDCG@20 alone. Items of the context are not recommended where `evaluation.mask_history` is set.
The exact search finds the items, so scores are float64 sums and an order holds to the last bit.

Shapes: B rows, P recommended items.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from rsir_scale.data.dataset import Sequences
from rsir_scale.data.schema import ITEM_ID
from rsir_scale.data.sequences import Int64Array, offsets_of
from rsir_scale.errors import InputError
from rsir_scale.evaluation.rows import answered, encoded, history, packed, threads_for_rows
from rsir_scale.models.base import Backbone
from rsir_scale.models.repository import load_trained
from rsir_scale.outputs.requests import Request, Unknown, allowed_items, for_sessions, for_users
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


@dataclass(frozen=True)
class LoadedModel:
    """A trained backbone with the log's own item ids. Its items are packed at the first question, and stay so.

    Attributes:
        backbone: in evaluation mode.
        item_ids: str[V]; entry j belongs to item index j + 1.
        mask_history: whether items of the context cannot be recommended.
        allowed: item indices that may be recommended, ascending; None for all.
    """

    backbone: Backbone
    item_ids: npt.NDArray[np.object_]
    mask_history: bool
    allowed: Int64Array | None = None

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
        width = top if self.allowed is None else min(top, len(self.allowed))
        items, scores = np.zeros((len(contexts), top), np.int64), np.zeros((len(contexts), top), np.float32)
        rows = np.arange(len(contexts))
        with threads_for_rows() as threads:
            for first in range(0, len(rows), _ROWS_PER_BLOCK):
                for part, found in self._rank_block(contexts, rows[first : first + _ROWS_PER_BLOCK], width, threads):
                    items[part, :width] = self._index_of(found.candidate_BP.cpu()).numpy()
                    scores[part, :width] = found.candidate_score_BP.cpu().numpy()
        return items, scores

    @cached_property
    def _packed(self) -> tuple[ExactItemSearch, torch.device]:
        return packed(self.backbone, self.allowed)

    @cached_property
    def _places(self) -> tuple[torch.Tensor, torch.Tensor] | None:
        """From item index to place among the allowed ones (0: none), and back; None where all are allowed."""
        if self.allowed is None:
            return None
        back_P = torch.cat([torch.zeros(1, dtype=torch.int64), torch.from_numpy(self.allowed)])
        place_V = torch.zeros(self.backbone.item_count + 1, dtype=torch.int64)
        place_V[back_P] = torch.arange(len(back_P))
        return place_V, back_P

    def _index_of(self, place_BP: torch.Tensor) -> torch.Tensor:
        return place_BP if self._places is None else self._places[1][place_BP]

    def _rank_block(
        self, contexts: Sequences, rows: Int64Array, top: int, threads: Executor
    ) -> Iterator[tuple[Int64Array, SearchResult]]:
        search, device = self._packed
        query_BD = encoded(self.backbone, contexts, rows, device=device)
        banned_BL = history(contexts, rows, masked=self.mask_history, device=device)
        if self._places is not None:
            banned_BL = self._places[0].to(device)[banned_BL]

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
    out: str | Path,
    users: Sequence[str] | None = None,
    sessions: Mapping[str, Sequence[str]] | None = None,
    unknown: Unknown = "refuse",
    allow: Sequence[str] | None = None,
    deny: Sequence[str] = (),
    iteration: int | None = None,
    tell: Tell = silent,
) -> Path:
    """Write the best items: user_id or session_id, item_id, rank (from 1), score; Parquet or CSV by `out`.

    Args:
        run: on the dataset that it was made from.
        top: items for each user, 1..V.
        out: a path that does not exist, ending in .parquet or .csv. What was skipped stands beside it, as CSV.
        users: the log's user ids, in the order wanted; None for all.
        sessions: item ids by name, oldest first, in place of users.
        unknown: whether unknown ids are refused or skipped.
        allow: item ids, of which alone recommendations come; None for the whole catalogue.
        deny: item ids that are not recommended.
        iteration: None for the best by validation NDCG@20.
        tell: is told how far it is.

    Returns:
        The path written.

    Raises:
        InputError: an unknown id that is refused, an unknown iteration or suffix, `top` out of range, no item that may
            be recommended, users and sessions at once, or `out` exists.
        IntegrityError: a file is damaged.
    """
    if Path(out).suffix not in _SUFFIXES:
        raise InputError(f"{out} ends in neither {' nor '.join(_SUFFIXES)}: name a file that does")
    if users is not None and sessions is not None:
        raise InputError("--users and --sessions were both given: give one of them")
    dataset = run.dataset
    allowed, unlisted = allowed_items(dataset, allow=allow, deny=deny, unknown=unknown)
    request = (
        for_users(dataset, users, unknown=unknown)
        if sessions is None
        else for_sessions(dataset, sessions, unknown=unknown)
    )
    skipped = (*unlisted, *request.skipped)
    model = replace(_load(run, iteration), allowed=allowed)
    with ExitStack() as outputs:
        if skipped:
            listed = outputs.enter_context(appearing(skipped_beside(out)))
            pl.DataFrame([asdict(skip) for skip in skipped]).write_csv(listed)
        staging = outputs.enter_context(appearing(out))
        with staging.open("wb") as file:
            tables = _tables(model, request, top, tell)
            if Path(out).suffix == ".parquet":
                _write_parquet(file, tables, request.column)
            else:
                _write_csv(file, tables)
    return Path(out)


def skipped_beside(out: str | Path) -> Path:
    """Where the ids that were skipped are listed, if any were."""
    return Path(out).with_suffix(".skipped.csv")


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


def _tables(model: LoadedModel, request: Request, top: int, tell: Tell) -> Iterator[pl.DataFrame]:
    names, item_ids, count = request.names, model.item_ids, len(request.contexts)
    block_rows = max(1, min(_ROWS_PER_BLOCK, _ITEMS_PER_BLOCK // max(1, top)))
    report = counted(tell, "recommending", count, "user")
    for first in range(0, max(1, count), block_rows):
        block = np.arange(first, min(first + block_rows, count))
        items_NP, scores_NP = model.rank(request.contexts.select(block), top)
        found = items_NP > 0
        yield pl.DataFrame(
            {
                request.column: pl.Series(np.repeat(names[block], top)[found.ravel()], dtype=pl.String),
                ITEM_ID: pl.Series(item_ids[items_NP[found] - 1], dtype=pl.String),
                RANK: np.broadcast_to(np.arange(1, top + 1, dtype=np.int32), found.shape)[found],
                SCORE: scores_NP[found],
            }
        )
        report(first + len(block))


def _write_parquet(file: BinaryIO, tables: Iterable[pl.DataFrame], column: str) -> None:
    columns = [(column, pa.string()), (ITEM_ID, pa.string()), (RANK, pa.int32()), (SCORE, pa.float32())]
    schema = pa.schema(columns)
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        for table in tables:
            writer.write_table(table.to_arrow().cast(schema))


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
