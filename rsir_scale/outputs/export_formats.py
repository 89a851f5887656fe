"""D_k as files that other programs read: Parquet, CSV, sequence text, RecBole's atomic files.

Comes in: `AugmentedData`. Goes out: a file or folder at a path that does not exist yet, written group by group. What a
format cannot hold (blanks inside ids of a text format) is refused before the first byte, never mangled.

RecBole takes files that are split already by `benchmark_filename`. Two sets are written, because its models read two
layouts: `train, valid, test` with a row an interaction, for general models; `seq_train, seq_valid, seq_test` with a row
a prediction (items so far → next item), for sequential ones, with `alias_of_item_id: [item_id_list]`.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from rsir_scale.data.schema import ITEM_ID, USER_ID
from rsir_scale.data.sequences import Float64Array, Int32Array, Sequences, offsets_of
from rsir_scale.errors import InputError
from rsir_scale.evaluation.evaluate import test_set, validation_set
from rsir_scale.outputs.augmented import AugmentedData, Group

TIMESTAMP = "timestamp"
SOURCE_USER_ID = "source_user_id"
ITERATION = "iteration"
_ROW_GROUP_ROWS = 1 << 16
_LISTED_ITEMS = 2_000_000
_SCHEMA = pa.schema(
    [
        (USER_ID, pa.string()),
        (ITEM_ID, pa.string()),
        (TIMESTAMP, pa.float64()),
        (SOURCE_USER_ID, pa.string()),
        (ITERATION, pa.int32()),
    ]
)
_RECBOLE = {USER_ID: "user_id:token", ITEM_ID: "item_id:token", TIMESTAMP: "timestamp:float"}
_RECBOLE_LIST = "item_id_list:token_seq"
# RecBole leaves such rows out and still cuts the parts by their numbers of rows: held-out rows would be trained on.
_NO_VALUE = r"^(#N/A( N/A)?|#NA|-?1\.#(IND|QNAN)|-?(NaN|nan)|<NA>|N/A|NA|NULL|None|n/a|null)$"


def write_parquet(data: AugmentedData, path: Path) -> None:
    """One row an interaction, sequence after sequence, oldest first."""
    with pq.ParquetWriter(path, _SCHEMA, compression="zstd") as writer:
        for group in data.groups():
            writer.write_table(_interactions(data, group).to_arrow().cast(_SCHEMA), row_group_size=_ROW_GROUP_ROWS)


def write_csv(data: AugmentedData, path: Path) -> None:
    """The columns of `write_parquet`, with a header; nulls are empty."""
    with path.open("wb") as file:
        file.write((",".join(_SCHEMA.names) + "\n").encode())
        for group in data.groups():
            _interactions(data, group).write_csv(file, include_header=False)


def write_sequences(data: AugmentedData, path: Path) -> None:
    """`user item item …` a line, oldest first."""
    _refuse(data.user_ids, r"\s", "user", "blanks")
    _refuse(data.item_ids, r"\s", "item", "blanks")
    with path.open("wb") as file:
        for group in data.groups():
            lines = group.user_ids + " " + _joined(data, group.sequences)
            lines.to_frame().write_csv(file, include_header=False, quote_style="never")


def write_recbole(data: AugmentedData, folder: Path, *, name: str) -> None:
    """A folder of `name.train.inter`, `name.valid.inter`, `name.test.inter`, and their `seq_` counterparts.

    Real users alone are in valid and test; what a row of them predicts is in no training file.
    """
    _refuse(data.user_ids, r"[\t\r\n\"]", "user", "tabs, line ends or quotes")
    _refuse(data.item_ids, r"[\s\"]", "item", "blanks or quotes")
    for ids, whose in ((data.user_ids, "user"), (data.item_ids, "item")):
        _refuse(ids, _NO_VALUE, whose, "what pandas, by which RecBole reads, takes for no value,")
    folder.mkdir()
    with ExitStack() as stack:

        def opened(part: str, *columns: str) -> BinaryIO:
            file = stack.enter_context((folder / f"{name}.{part}.inter").open("wb"))
            file.write(("\t".join(columns) + "\n").encode())
            return file

        plain, listed = tuple(_RECBOLE.values()), (_RECBOLE[USER_ID], _RECBOLE_LIST, *list(_RECBOLE.values())[1:])
        train, seq_train = opened("train", *plain), opened("seq_train", *listed)
        for group in data.groups():
            _write_tabs(_interactions(data, group).select(*_RECBOLE), train)
            for frame in _predictions(data, group):
                _write_tabs(frame, seq_train)
        for part, frame in _held_out(data):
            _write_tabs(frame.select(*_RECBOLE), opened(part, *plain))
            _write_tabs(frame, opened(f"seq_{part}", *listed))


def _interactions(data: AugmentedData, group: Group) -> pl.DataFrame:
    row = np.repeat(np.arange(len(group.sequences)), group.sequences.lengths)
    source = data.user_ids.gather(group.sources[row])
    return pl.DataFrame(
        {
            USER_ID: group.user_ids.gather(row),
            ITEM_ID: data.item_ids.gather(group.sequences.items - 1),
            TIMESTAMP: group.times,
            SOURCE_USER_ID: source.clear(len(row)) if group.iteration is None else source,
            ITERATION: pl.Series([group.iteration], dtype=pl.Int32).new_from_index(0, len(row)),
        }
    )


def _predictions(data: AugmentedData, group: Group) -> Iterator[pl.DataFrame]:
    """(user, items so far, next item, its time) for every item but a sequence's first, in pieces of bounded size."""
    sequences = group.sequences
    listed = np.cumsum(sequences.lengths * (sequences.lengths - 1) // 2)
    cuts = np.searchsorted(listed, np.arange(_LISTED_ITEMS, int(listed[-1:].sum()), _LISTED_ITEMS))
    row_of_item = np.repeat(np.arange(len(sequences)), sequences.lengths)
    edges = np.unique([0, *cuts, len(sequences)])
    for first, last in zip(sequences.offsets[edges[:-1]], sequences.offsets[edges[1:]], strict=True):
        targets = np.arange(first, last)
        targets = targets[targets > sequences.offsets[row_of_item[targets]]]
        row = row_of_item[targets]
        begin = sequences.offsets[:-1][row]
        offsets = offsets_of(targets - begin)
        inside = np.arange(offsets[-1]) - np.repeat(offsets[:-1] - begin, targets - begin)
        contexts = Sequences(row, offsets, sequences.items[inside])
        yield _frame(data, group.user_ids.gather(row), contexts, sequences.items[targets], group.times[targets])


def _held_out(data: AugmentedData) -> Iterator[tuple[str, pl.DataFrame]]:
    dataset = data.dataset
    training, held_out = dataset.training_sequences(), dataset.held_out()
    sets = (("valid", validation_set(training, held_out)), ("test", test_set(training, held_out)))
    for place, (part, users) in enumerate(sets):
        ids = users.contexts.ids
        times = dataset.held_out_times()[place][ids] if dataset.meta.has_times else users.contexts.lengths
        yield part, _frame(data, data.user_ids.gather(ids), users.contexts, users.targets, times.astype(np.float64))


def _frame(
    data: AugmentedData, user_ids: pl.Series, contexts: Sequences, targets: Int32Array, times: Float64Array
) -> pl.DataFrame:
    return pl.DataFrame(
        {
            USER_ID: user_ids,
            _RECBOLE_LIST: _joined(data, contexts),
            ITEM_ID: data.item_ids.gather(targets - 1),
            TIMESTAMP: times,
        }
    )


def _joined(data: AugmentedData, sequences: Sequences) -> pl.Series:
    """Each sequence's item ids as one text, separated by blanks."""
    items = data.item_ids.gather(sequences.items - 1).to_arrow().cast(pa.string())
    lists = pa.ListArray.from_arrays(pa.array(sequences.offsets.astype(np.int32)), items)
    return pl.Series(pl.from_arrow(pc.binary_join(lists, " ")))


def _write_tabs(frame: pl.DataFrame, file: BinaryIO) -> None:
    frame.write_csv(file, include_header=False, separator="\t", quote_style="never")


def _refuse(ids: pl.Series, pattern: str, whose: str, what: str) -> None:
    bad = ids.filter(ids.str.contains(pattern))
    if len(bad):
        raise InputError(f"{whose} id {bad[0]!r} holds {what}, which this format cannot: use --format parquet or csv")
