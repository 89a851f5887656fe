"""Every column of a synthetic row, once, and the Arrow schema of a part.

`sequence_id`, `items` and `content_hash` are those of a training file, so that one reader serves both. The last three
columns are the evidence of each generated item, one entry an item: the item that vouched for it, how many items of the
catalogue scored higher than that one (-1 where nothing was checked), and whether it was chosen by exploration.
"""

import pyarrow as pa

from rsir_scale.data.schema import CONTENT_HASH, ITEMS, SEQUENCE_ID

ITERATION = "iteration"
SOURCE_SEQUENCE_ID = "source_sequence_id"
TRIAL = "trial"
START_LENGTH = "start_length"
STOP_REASON = "stop_reason"
VOUCHING_ITEMS = "vouching_items"
BETTER_ITEMS = "better_items"
EXPLORED = "explored"

REASON = "reason"

ERRORS_SCHEMA = pa.schema([(SOURCE_SEQUENCE_ID, pa.int64()), (REASON, pa.string())])
PART_SCHEMA = pa.schema(
    [
        (SEQUENCE_ID, pa.int64()),
        (ITEMS, pa.list_(pa.int32())),
        (ITERATION, pa.int32()),
        (SOURCE_SEQUENCE_ID, pa.int64()),
        (TRIAL, pa.int32()),
        (START_LENGTH, pa.int32()),
        (STOP_REASON, pa.string()),
        (VOUCHING_ITEMS, pa.list_(pa.int32())),
        (BETTER_ITEMS, pa.list_(pa.int32())),
        (EXPLORED, pa.list_(pa.bool_())),
        (CONTENT_HASH, pa.binary(16)),
    ]
)
