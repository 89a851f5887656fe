"""What an augmenter makes once an iteration and all its shards read: a table, and the record that names it.

Comes in: a table. Goes out: the table under an attempt's own name and, after it, `generation/prepared.json`, created
only if absent, so that all shards of an iteration read one and the same table, however often it was made. What stands
in the table is the augmenter's business.
"""

import pyarrow as pa
import pyarrow.parquet as pq

from rsir_scale.data.columns_check import PARQUET_ERRORS
from rsir_scale.errors import IntegrityError
from rsir_scale.runs import layout
from rsir_scale.runs.records import Count, FileEntry, Record, entry_of, write_entry
from rsir_scale.storage.base import AlreadyExistsError, Store, sha256_of


class Prepared(Record):
    """What `generation/prepared.json` holds.

    Attributes:
        iteration: whose shards read it.
        table: what was made.
        figures: what was counted or measured on the way.
    """

    iteration: Count
    table: FileEntry
    figures: dict[str, float]


def publish_table(store: Store, iteration: int, table: pa.Table, *, figures: dict[str, float]) -> None:
    """Make a table the iteration's own, unless an earlier attempt has made one."""
    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer, compression="zstd")
    data = buffer.getvalue().to_pybytes()
    key = layout.prepared_table(iteration, layout.new_attempt())
    entry = write_entry(store, key, "prepared", data, rows=table.num_rows)
    record = Prepared(iteration=iteration, table=entry, figures=figures)
    try:
        store.create(layout.prepared(iteration), record.to_bytes())
    except AlreadyExistsError:
        # The earlier record counts, and this table is an orphan.
        return


def read(store: Store, iteration: int) -> Prepared | None:
    """The record of an iteration; None where nothing is prepared. Raises IntegrityError."""
    key = layout.prepared(iteration)
    data = store.read_if_exists(key)
    return None if data is None else Prepared.from_bytes(data, f"{store.root}/{key}")


def prepared_files(store: Store, iteration: int) -> list[FileEntry]:
    """What the manifest has to name: the record and its table. Raises IntegrityError."""
    record = read(store, iteration)
    return [] if record is None else [entry_of(store, layout.prepared(iteration), "prepared"), record.table]


def read_table(store: Store, iteration: int, schema: pa.Schema) -> pa.Table:
    """Read the iteration's table.

    Args:
        store: of the run.
        iteration: whose table.
        schema: the columns that it must have, none of them with nulls.

    Raises:
        IntegrityError: nothing is prepared, or the table is not the one that the record names.
    """
    record, name = read(store, iteration), f"{store.root}/{layout.prepared(iteration)}"
    if record is None:
        raise IntegrityError(f"{name} is missing, and the iteration's shards read what it names: restore it")
    entry = record.table
    if sha256_of(store, entry.key)[0] != entry.sha256:
        raise IntegrityError(f"{store.root}/{entry.key} is not the table that {name} names: restore it")
    try:
        with store.open_read(entry.key) as reader, pq.ParquetFile(reader) as file:
            # Arrow's own threads that hold a Python file abort the interpreter now and then as it exits.
            table = file.read(use_threads=False)
    except PARQUET_ERRORS as error:
        raise IntegrityError(f"{store.root}/{entry.key} cannot be read as Parquet ({error}): restore it") from error
    if table.schema.remove_metadata() != schema or any(column.null_count for column in table.columns):
        raise IntegrityError(f"{store.root}/{entry.key} has other columns than {schema.names}, or nulls: restore it")
    return table
