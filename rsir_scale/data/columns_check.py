"""A table of a dataset or a run, held to its columns' types, to no nulls, and to the range of its integers.

Comes in: what a Parquet file gave. Goes out: the first fault in words, or None. Arithmetic on whatever else a file may
hold does not fail where the file is wrong, but far from it, or nowhere.
"""

from collections.abc import Mapping

import pyarrow as pa
import pyarrow.compute as pc

from rsir_scale.data import schema

# What Arrow raises of a file that is no Parquet; the name of a column may be no UTF-8.
PARQUET_ERRORS = (OSError, pa.ArrowException, UnicodeDecodeError)
Bounds = Mapping[str, tuple[int, int]]
_REASON_CHARACTERS = 300
_NULLABLE = frozenset({schema.VALIDATION_TIME, schema.TEST_TIME})


def fault_of(table: pa.Table, types: pa.Schema, bounds: Bounds) -> str | None:
    """Say what is wrong with a table.

    Args:
        table: columns that `types` does not know are let pass.
        types: of columns, by name.
        bounds: the least and the greatest value of integer columns, or of the integers of their lists.
    """
    try:
        # Text that is no UTF-8, and lists that end beyond their values, pass Arrow's reader.
        table.validate(full=True)
    except pa.ArrowException as error:
        return str(error)[:_REASON_CHARACTERS]
    for name in table.column_names:
        column, expected = table.column(name), types.field(name).type if name in types.names else None
        if expected is None:
            continue
        if _kind(column.type) != _kind(expected):
            return f"column {name!r} is of type {column.type}, not {expected}"
        values = pc.list_flatten(column) if pa.types.is_list(expected) else column
        if (column.null_count or values.null_count) and name not in _NULLABLE:
            return f"column {name!r} holds null"
        least, greatest = bounds.get(name, (0, 0))
        if name in bounds and len(values):
            found = pc.min_max(values).as_py()
            if found["min"] < least or found["max"] > greatest:
                worst = found["min"] if found["min"] < least else found["max"]
                return f"column {name!r} holds {worst}, which is not in {least}..{greatest}"
    return None


def _kind(kind: pa.DataType) -> tuple[str, str]:
    """A type without the names of its parts, of which writers have several."""
    return ("list", str(kind.value_type)) if pa.types.is_list(kind) else ("", str(kind))
