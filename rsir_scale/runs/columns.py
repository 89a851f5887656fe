"""Every column of a synthetic row, once, and the Arrow schema of a part.

`sequence_id`, `items` and `content_hash` are those of a training file, so that one reader serves both. An augmenter may
add columns of its own behind these: the evidence of its rows.
"""

import pyarrow as pa

from rsir_scale.data.schema import CONTENT_HASH, ITEMS, SEQUENCE_ID

ITERATION = "iteration"
SOURCE_SEQUENCE_ID = "source_sequence_id"
TRIAL = "trial"
START_LENGTH = "start_length"
FIRST_TARGET = "first_target"

REASON = "reason"

ERRORS_SCHEMA = pa.schema([(SOURCE_SEQUENCE_ID, pa.int64()), (REASON, pa.string())])
# start_length: how many leading items are those of the source, as they stand there. first_target: position of the first
# item that training predicts; what stands before it is context alone.
PART_SCHEMA = pa.schema(
    [
        (SEQUENCE_ID, pa.int64()),
        (ITEMS, pa.list_(pa.int32())),
        (ITERATION, pa.int32()),
        (SOURCE_SEQUENCE_ID, pa.int64()),
        (TRIAL, pa.int32()),
        (START_LENGTH, pa.int32()),
        (FIRST_TARGET, pa.int32()),
        (CONTENT_HASH, pa.binary(16)),
    ]
)


def with_evidence(evidence: pa.Schema) -> pa.Schema:
    """The schema of a part whose rows carry evidence."""
    return pa.schema([*PART_SCHEMA, *evidence])
