"""Users' sequences → the folder of a prepared dataset, batch by batch, in bounded memory.

Comes in: batches of whole, already truncated sequences with item indices, in the order of sequence ids. Goes out:
training and held-out files (leave-one-out), vocabularies, and `dataset.json`. It writes into a hidden sibling folder
and renames that when all is there, so a reader meets a whole dataset or none; whatever fails leaves nothing behind.
What goes to an object store is written on this machine first; `dataset.json` is the last object to be created there.
"""

import hashlib
import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from rsir_scale.data import schema
from rsir_scale.data.dataset import DatasetFile, DatasetMeta, FileKind, Noise
from rsir_scale.data.fingerprint import Fingerprint
from rsir_scale.data.funnel import Funnel
from rsir_scale.data.sequences import Float64Array, Sequences, to_list_array
from rsir_scale.data.split import LEAVE_ONE_OUT, Split, hold_out_last
from rsir_scale.data.statistics import Tally
from rsir_scale.errors import InputError
from rsir_scale.randomness import content_hashes
from rsir_scale.storage.base import Store
from rsir_scale.storage.opening import is_address, open_store, usable_path
from rsir_scale.storage.outputs import new_parents, told

_ROW_GROUP = 8192


class DatasetWriter:
    """Writes one dataset; use it inside `writing`."""

    def __init__(
        self,
        folder: Path,
        *,
        items: int,
        has_times: bool,
        truncation: int,
        min_count: int,
        split: str = LEAVE_ONE_OUT,
    ) -> None:
        self._folder = folder
        self._has_times = has_times
        self._truncation = truncation
        self._min_count = min_count
        self._split = split
        self._files: list[DatasetFile] = []
        self._parts = 0
        self._tally = Tally(items)
        self._fingerprint = Fingerprint()

    def add(
        self, sequences: Sequences, times: Float64Array | None, held_out: npt.NDArray[np.bool_] | None = None
    ) -> None:
        """Write the next users as one training and one held-out file.

        Args:
            sequences: whole truncated sequences, ids ascending and following those added before, none empty.
            times: aligned with `sequences.items`; None where the log has no times.
            held_out: whose last two items are held out; None for leave-one-out.
        """
        split = hold_out_last(sequences, held_out)
        name = f"part-{self._parts:05d}.parquet"
        self._write(f"{schema.TRAIN_FOLDER}/{name}", "train", self._training_table(split, times))
        self._write(f"{schema.HELDOUT_FOLDER}/{name}", "heldout", self._heldout_table(split, times))
        self._parts += 1
        self._tally.add(sequences, split.training)
        self._fingerprint.update(split.training, split.validation, split.test)

    def add_dropped(self, *, user_ids: pl.Series, item_ids: pl.Series) -> None:
        """Write the ids (String) that are below the k-core, where there are any, so that they are known as such."""
        if len(user_ids):
            users = pa.table([_strings(user_ids)], schema=schema.DROPPED_USERS_SCHEMA)
            self._write(schema.DROPPED_USERS_FILE, "dropped_users", users)
        if len(item_ids):
            items = pa.table([_strings(item_ids)], schema=schema.DROPPED_ITEMS_SCHEMA)
            self._write(schema.DROPPED_ITEMS_FILE, "dropped_items", items)

    def interactions(self) -> int:
        """How many were added so far, held-out ones included."""
        return self._tally.interactions

    def finish(
        self, *, user_ids: pl.Series, item_ids: pl.Series, noise: Noise | None = None, log: Funnel | None = None
    ) -> DatasetMeta:
        """Write the vocabularies (String, in index order) and, last, `dataset.json`.

        Args:
            user_ids: of the dataset's users.
            item_ids: of the catalogue.
            noise: that is in it.
            log: what became of the log's rows.
        """
        users = pa.table({schema.USER_INDEX: np.arange(len(user_ids)), schema.USER_ID: _strings(user_ids)})
        items = pa.table({schema.ITEM_INDEX: np.arange(1, len(item_ids) + 1), schema.ITEM_ID: _strings(item_ids)})
        self._write(schema.USERS_FILE, "users", users.cast(schema.USERS_SCHEMA))
        self._write(schema.ITEMS_FILE, "items", items.cast(schema.ITEMS_SCHEMA))
        meta = DatasetMeta(
            format_version=schema.FORMAT_VERSION,
            users=len(user_ids),
            items=len(item_ids),
            **self._tally.facts(),
            truncation=self._truncation,
            min_count=self._min_count,
            has_times=self._has_times,
            split=self._split,
            log=log,
            noise=noise,
            fingerprint=self._fingerprint.hexdigest(user_ids=user_ids, item_ids=item_ids, truncation=self._truncation),
            files=tuple(self._files),
        )
        (self._folder / schema.DATASET_FILE).write_bytes(_to_json(meta))
        return meta

    def _training_table(self, split: Split, times: Float64Array | None) -> pa.Table:
        training = split.training
        hashes = content_hashes(training.offsets, training.items)
        columns = [pa.array(training.ids), to_list_array(training.offsets, training.items)]
        if times is not None:
            columns.append(to_list_array(training.offsets, times[split.in_training]))
        columns.append(pa.Array.from_buffers(pa.binary(16), len(training), [None, pa.py_buffer(hashes.tobytes())]))
        return pa.table(columns, schema=schema.train_schema(has_times=self._has_times))

    def _heldout_table(self, split: Split, times: Float64Array | None) -> pa.Table:
        columns = [pa.array(split.training.ids), pa.array(split.validation), pa.array(split.test)]
        if times is not None:
            last = split.last
            none = split.test == 0
            columns.append(pa.array(times[np.maximum(last - 1, 0)], mask=none))
            columns.append(pa.array(times[last], mask=none))
        return pa.table(columns, schema=schema.heldout_schema(has_times=self._has_times))

    def _write(self, name: str, kind: FileKind, table: pa.Table) -> None:
        path = self._folder / name
        path.parent.mkdir(exist_ok=True)
        pq.write_table(table, path, compression="zstd", row_group_size=_ROW_GROUP)
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        self._files.append(DatasetFile(path=name, rows=table.num_rows, sha256=digest, kind=kind))


@contextmanager
def writing(out: str | Path) -> Iterator[Path]:
    """Give a hidden folder beside `out`, or in it where it is there; what it holds is `out`'s on success.

    An empty folder that is there is left in its place: it may be a mount, or where the shell stands. On any
    failure the hidden folder is removed.

    Raises:
        InputError: `out` exists and is not an empty folder, or cannot be written.
        StorageFullError: the disk took no more bytes.
    """
    refuse_existing(out)
    if is_address(out):
        with (
            told("the dataset in the folder for temporary files", "set TMPDIR to another one"),
            tempfile.TemporaryDirectory(prefix="rsir-dataset-") as folder,
        ):
            yield Path(folder)
            _upload(Path(folder), open_store(out))
        return
    target = Path(out).absolute()
    in_place = target.is_dir()
    staging = (target if in_place else target.parent) / f".{target.name}.{uuid.uuid4().hex}.partial"
    with new_parents(target), told(f"dataset {target}", "choose another --out"):
        try:
            staging.mkdir(parents=True)
            yield staging
            if in_place:
                _move_up(staging)
            else:
                os.rename(staging, target)
        finally:
            shutil.rmtree(staging, ignore_errors=True)


def _move_up(folder: Path) -> None:
    """Move what a folder holds to the folder that it lies in: the record last, which makes the rest a dataset."""
    for child in sorted(folder.iterdir(), key=lambda child: child.name == schema.DATASET_FILE):
        os.rename(child, folder.parent / child.name)


def _upload(folder: Path, store: Store) -> None:
    """Copy a dataset's files under an attempt's own name, so that an upload that broke off is in nobody's way."""
    store.require_atomic_create()
    attempt = uuid.uuid4().hex[:12]
    meta = DatasetMeta.model_validate_json((folder / schema.DATASET_FILE).read_bytes())
    moved = [file.model_copy(update={"path": f"{attempt}/{file.path}"}) for file in meta.files]
    for file, there in zip(meta.files, moved, strict=True):
        store.put_new(there.path, (folder / file.path).read_bytes())
    if (folder / schema.SKIPPED_FILE).exists():
        store.put_new(f"{attempt}/{schema.SKIPPED_FILE}", (folder / schema.SKIPPED_FILE).read_bytes())
    store.create(schema.DATASET_FILE, _to_json(meta.model_copy(update={"files": tuple(moved)})))


def _to_json(meta: DatasetMeta) -> bytes:
    return (json.dumps(meta.model_dump(mode="json", exclude_none=True), indent=2) + "\n").encode()


def refuse_existing(out: str | Path) -> None:
    """Raise an InputError unless `out` is absent, an empty folder, or an address without a dataset."""
    if is_address(out):
        if open_store(out).exists(schema.DATASET_FILE):
            raise InputError(f"{out} holds a dataset already: remove it, or choose another --out")
        return
    target = usable_path(out)
    try:
        empty = target.is_dir() and not target.is_symlink() and not any(target.iterdir())
    except OSError as error:
        raise InputError(f"{target} cannot be looked into ({error}): choose another --out") from error
    if os.path.lexists(target) and not empty:
        raise InputError(f"{target} already exists and is not an empty folder: remove it, or choose another --out")


def _strings(ids: pl.Series) -> pa.Array:
    return ids.to_arrow().cast(pa.string())
