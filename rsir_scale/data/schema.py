"""Every column name of the data room, once, and the Arrow schemas of a prepared dataset's files.

A log's own ids are text (`user_id`, `item_id`); indices inside are integers, items 1..V with 0 for padding or "none",
users 0..N-1. Times are numbers of the log's own unit; where the log has none, no file carries a time column.
"""

import pyarrow as pa

FORMAT_VERSION = 1
DATASET_FILE = "dataset.json"
USERS_FILE = "users.parquet"
ITEMS_FILE = "items.parquet"
DROPPED_USERS_FILE = "dropped_users.parquet"
DROPPED_ITEMS_FILE = "dropped_items.parquet"
SKIPPED_FILE = "skipped.csv"
TRAIN_FOLDER = "train"
HELDOUT_FOLDER = "heldout"

# An interaction log, as readers hand it on.
USER_ID = "user_id"
ITEM_ID = "item_id"
TIME = "time"
ORDER = "order"
GIVEN = "given"

# A prepared dataset.
USER_INDEX = "user_index"
ITEM_INDEX = "item_index"
SEQUENCE_ID = "sequence_id"
ITEMS = "items"
TIMES = "times"
CONTENT_HASH = "content_hash"
VALIDATION_ITEM = "validation_item"
TEST_ITEM = "test_item"
VALIDATION_TIME = "validation_time"
TEST_TIME = "test_time"

USERS_SCHEMA = pa.schema([(USER_INDEX, pa.int64()), (USER_ID, pa.string())])
DROPPED_USERS_SCHEMA = pa.schema([(USER_ID, pa.string())])
DROPPED_ITEMS_SCHEMA = pa.schema([(ITEM_ID, pa.string())])
ITEMS_SCHEMA = pa.schema([(ITEM_INDEX, pa.int32()), (ITEM_ID, pa.string())])


def train_schema(*, has_times: bool) -> pa.Schema:
    """Columns of a training file; `times` only where the log has them."""
    fields = [(SEQUENCE_ID, pa.int64()), (ITEMS, pa.list_(pa.int32()))]
    times = [(TIMES, pa.list_(pa.float64()))] if has_times else []
    return pa.schema([*fields, *times, (CONTENT_HASH, pa.binary(16))])


def heldout_schema(*, has_times: bool) -> pa.Schema:
    """Columns of a held-out file; an item of 0, and its time null, means that the user has none."""
    fields = [(SEQUENCE_ID, pa.int64()), (VALIDATION_ITEM, pa.int32()), (TEST_ITEM, pa.int32())]
    times = [(VALIDATION_TIME, pa.float64()), (TEST_TIME, pa.float64())] if has_times else []
    return pa.schema([*fields, *times])


def all_columns() -> pa.Schema:
    """Every column that a file of a dataset may have."""
    parts = (train_schema(has_times=True), heldout_schema(has_times=True), USERS_SCHEMA, ITEMS_SCHEMA)
    return pa.schema({field.name: field.type for part in parts for field in part}.items())
