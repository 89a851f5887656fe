"""A prepared dataset, opened: its facts, its training sequences, and its held-out items, each from files of its own.

Comes in: the folder or address that `prepare` or `synthesize` wrote to. Goes out: NumPy arrays. Nothing is listed:
`dataset.json` names every file, and a place without it holds no dataset. Training files and held-out files are read by
different calls, so that what trains or generates cannot meet a held-out item by accident. Hashes are not checked on
opening (a dataset may be large); row counts are, wherever a whole file is read.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from rsir_scale.data import schema
from rsir_scale.data.columns_check import PARQUET_ERRORS, Bounds, fault_of
from rsir_scale.data.funnel import Funnel
from rsir_scale.data.sequences import (
    Float64Array,
    Int32Array,
    Int64Array,
    Sequences,
    concatenate,
    empty,
    flatten_lists,
    from_arrow,
    numbers_of,
)
from rsir_scale.errors import InputError, IntegrityError, first_fault, shown
from rsir_scale.storage.base import Store
from rsir_scale.storage.opening import is_address, open_store

__all__ = [
    "DatasetFile",
    "DatasetMeta",
    "HeldOut",
    "Noise",
    "PreparedDataset",
    "Sequences",
    "concatenate",
    "empty",
    "from_arrow",
    "open_dataset",
    "stats",
]

FileKind = Literal["train", "heldout", "users", "items", "dropped_users", "dropped_items"]
_ANY_JSON: TypeAdapter[Any] = TypeAdapter(Any)
_MAKE_ONE = "make one with `rsir data import … --out DIR` or `rsir data synthesize … --out DIR`"


class DatasetFile(BaseModel):
    """One file of a prepared dataset."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str = Field(description="relative to the dataset's folder, with /")
    rows: int = Field(ge=0)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    kind: FileKind


class Noise(BaseModel):
    """From which dataset one with noise was made, and how."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    of: str = Field(pattern="^[0-9a-f]{64}$", description="fingerprint of the dataset without it")
    share: float = Field(ge=0, le=1, description="probability that a training interaction was replaced")
    seed: int = Field(ge=0)
    replaced: int = Field(ge=0, description="training interactions that were")


class DatasetMeta(BaseModel):
    """The facts of a prepared dataset, as `dataset.json` holds them."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    format_version: int
    users: int = Field(ge=1)
    items: int = Field(ge=1, description="the catalogue: items of the log after the k-core, seen in training or not")
    interactions: int = Field(ge=1, description="after truncation, held-out ones included")
    training_pairs: int = Field(ge=0, description="(prefix, next item): a training sequence of n items has n - 1")
    training_items: int = Field(ge=0, description="distinct items of the training sequences")
    density: float = Field(description="training_pairs / (users * items)")
    min_length: int = Field(description="of the users' truncated sequences, held-out items included")
    mean_length: float = Field(description="of the users' truncated sequences, held-out items included")
    max_length: int = Field(description="of the users' truncated sequences, held-out items included")
    truncation: int = Field(ge=1, description="each user's last interactions kept, held-out ones included")
    min_count: int = Field(ge=0, description="k of the k-core; 0 and 1 drop nothing")
    repeat_share: float = Field(
        ge=0, le=1, description="training interactions that repeat an earlier item of their row"
    )
    has_times: bool
    split: str = Field(default="leave-one-out", description="how validation and test items were chosen")
    log: Funnel | None = Field(default=None, description="what became of the log's rows; none for other datasets")
    noise: Noise | None = Field(default=None, description="what `rsir data noise` did; none for other datasets")
    fingerprint: str = Field(pattern="^[0-9a-f]{64}$", description="SHA-256 of the content, however split into files")
    files: tuple[DatasetFile, ...]

    @model_validator(mode="after")
    def _files_hold_all(self) -> "DatasetMeta":
        kinds = [kind for kind in get_args(FileKind) if not kind.startswith("dropped_")]
        rows = {kind: sum(file.rows for file in self.files if file.kind == kind) for kind in kinds}
        expected = {"train": self.users, "heldout": self.users, "users": self.users, "items": self.items}
        if rows != expected:
            raise ValueError(f"its files have {rows} rows, its facts ask for {expected}")
        return self


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Leave-one-out targets, for evaluation only; item 0 means that the user has none.

    Attributes:
        ids: int64[N], the users' sequence ids, ascending.
        validation: int32[N], the item before the last.
        test: int32[N], the last item.
    """

    ids: Int64Array
    validation: Int32Array
    test: Int32Array


@dataclass(frozen=True)
class PreparedDataset:
    """Where a prepared dataset lies, and its facts."""

    store: Store
    meta: DatasetMeta

    @property
    def path(self) -> str:
        """The dataset's folder or address, absolute."""
        return self.store.root

    @property
    def bounds(self) -> Bounds:
        """Least and greatest value of the columns of its files."""
        users, items = self.meta.users, self.meta.items
        targets = dict.fromkeys((schema.VALIDATION_ITEM, schema.TEST_ITEM), (0, items))
        return {schema.SEQUENCE_ID: (0, users - 1), schema.ITEMS: (1, items), **targets}

    def files(self, kind: FileKind) -> tuple[DatasetFile, ...]:
        """The files of one kind, in the order of their rows' ids."""
        return tuple(file for file in self.meta.files if file.kind == kind)

    def training_files(self) -> tuple[DatasetFile, ...]:
        """Files whose rows are training sequences, ordered by sequence_id across and within files."""
        return self.files("train")

    def training_sequences(self) -> Sequences:
        """All training sequences, ordered by sequence_id: row i is user i, its held-out items left out."""
        found = concatenate(
            [from_arrow(self._table(file, [schema.SEQUENCE_ID, schema.ITEMS])) for file in self.training_files()]
        )
        if not np.array_equal(found.ids, np.arange(self.meta.users)):
            raise InputError(
                f"{self.path}: its training files do not have {schema.SEQUENCE_ID} 0..{self.meta.users - 1} in order: "
                "import the log again, or copy the whole folder"
            )
        return found

    def training_times(self) -> Float64Array:
        """When each interaction of `training_sequences()` was, aligned with its items."""
        self._need_times()
        return np.concatenate(
            [flatten_lists(self._table(file, [schema.TIMES]).column(0))[1] for file in self.training_files()]
        )

    def held_out(self) -> HeldOut:
        """The validation and test item of each user, ordered by sequence_id."""
        table = self._tables("heldout", [schema.SEQUENCE_ID, schema.VALIDATION_ITEM, schema.TEST_ITEM])
        return HeldOut(*(numbers_of(table.column(name)) for name in table.column_names))

    def held_out_times(self) -> tuple[Float64Array, Float64Array]:
        """Times of the validation and of the test items (NaN where a user has none), aligned with `held_out()`."""
        self._need_times()
        table = self._tables("heldout", [schema.VALIDATION_TIME, schema.TEST_TIME])
        return numbers_of(table.column(0)), numbers_of(table.column(1))

    def item_ids(self) -> npt.NDArray[np.object_]:
        """The log's item ids as str; entry j belongs to item_index j + 1 (index 0 is padding)."""
        return _texts(self._tables("items", [schema.ITEM_ID]))

    def item_name(self, index: int) -> str:
        """What an error calls an item: the log's own id, and the item_index."""
        return f"item {self.item_ids()[index - 1]!r} (item_index {index})"

    def user_ids(self) -> npt.NDArray[np.object_]:
        """The log's user ids as str; entry i belongs to sequence_id i."""
        return _texts(self._tables("users", [schema.USER_ID]))

    def dropped_ids(self, kind: Literal["users", "items"]) -> frozenset[str]:
        """Ids of the log that are below the k-core; empty where none are, or where the dataset does not say."""
        name: FileKind = "dropped_users" if kind == "users" else "dropped_items"
        column = schema.USER_ID if kind == "users" else schema.ITEM_ID
        tables = [self._table(file, [column]) for file in self.files(name)]
        return frozenset(str(text) for table in tables for text in table.column(0).to_pylist())

    def _tables(self, kind: FileKind, columns: list[str]) -> pa.Table:
        return pa.concat_tables([self._table(file, columns) for file in self.files(kind)])

    def _table(self, file: DatasetFile, columns: list[str]) -> pa.Table:
        table = _read(self.store, file.path, columns)
        fault = fault_of(table, schema.all_columns(), self.bounds)
        if fault is not None:
            raise InputError(f"{self.path}/{file.path}: {fault}: import the log again, or copy the whole folder")
        if table.num_rows != file.rows:
            raise InputError(
                f"{self.path}/{file.path} holds {table.num_rows} rows, {schema.DATASET_FILE} says {file.rows}: "
                "the dataset was changed after it was written; import the log again"
            )
        return table

    def _need_times(self) -> None:
        if not self.meta.has_times:
            raise InputError(f"dataset {self.path} has no times: its log had none; import one with a time column")


def open_dataset(path: str | Path) -> PreparedDataset:
    """Open the prepared dataset at `path`, a folder or an address.

    Raises:
        InputError: no folder, no dataset.json, another format or version, or a listed file is missing.
        ConfigError: an address that `open_store` does not know.
    """
    store = open_store(path)
    if not is_address(path) and not Path(path).is_dir():
        raise InputError(f"dataset {path} is not a folder: name one that holds {schema.DATASET_FILE}, or {_MAKE_ONE}")
    meta = _read_meta(store)
    for file in meta.files:
        if not _is_there(store, file.path):
            raise InputError(
                f"dataset {store.root} lacks {shown(file.path)}, which {schema.DATASET_FILE} names: import the log "
                "again, or copy the whole folder"
            )
    return PreparedDataset(store, meta)


def stats(path: str | Path) -> dict[str, object]:
    """The facts of a prepared dataset as one JSON-ready mapping (its file list left out)."""
    return open_dataset(path).meta.model_dump(mode="json", exclude={"files"}, exclude_none=True)


def _read(store: Store, key: str, columns: list[str]) -> pa.Table:
    name = f"{store.root}/{key}"
    try:
        with store.open_read(key) as reader, pq.ParquetFile(reader) as file:
            missing = [column for column in columns if column not in file.schema_arrow.names]
            if missing:
                raise InputError(
                    f"{name} has no column {missing[0]!r}: it is not a file of a prepared dataset; import the log again"
                )
            # Arrow's own threads that hold a Python file abort the interpreter now and then as it exits.
            return file.read(columns, use_threads=False)
    except (*PARQUET_ERRORS, IntegrityError) as error:
        raise InputError(f"{name} cannot be read as Parquet ({error}): restore it, or write it again") from error


def _is_there(store: Store, key: str) -> bool:
    try:
        return store.exists(key)
    except IntegrityError:
        # No key of this dataset: it would lead out of its folder.
        return False


def _texts(table: pa.Table) -> npt.NDArray[np.object_]:
    return np.array(table.column(0).to_pylist(), dtype=np.object_)


def _read_meta(store: Store) -> DatasetMeta:
    name = f"{store.root}/{schema.DATASET_FILE}"
    try:
        data = store.read_if_exists(schema.DATASET_FILE)
    except IntegrityError as error:
        raise InputError(f"{store.root} is no prepared dataset ({error}); {_MAKE_ONE}") from error
    if data is None:
        raise InputError(f"{store.root} holds no {schema.DATASET_FILE}: it is no prepared dataset; {_MAKE_ONE}")
    try:
        raw = _ANY_JSON.validate_json(data)
    except ValidationError as error:
        raise InputError(f"{name} is not readable JSON ({first_fault(error)}): import the log again") from error
    version = raw.get("format_version") if isinstance(raw, dict) else None
    if version != schema.FORMAT_VERSION:
        raise InputError(
            f"{name} has format_version {shown(version)}; this version reads {schema.FORMAT_VERSION}: import the log "
            "again"
        )
    try:
        return DatasetMeta.model_validate_json(data)
    except ValidationError as error:
        raise InputError(f"{name} is not what an import writes ({first_fault(error)}): import the log again") from error
