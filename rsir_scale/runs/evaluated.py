"""The record of how theta_k did, without theta_k: its metrics, and the rank of each user's held-out items.

Comes in: a run's store. Goes out: what `metrics.json` holds, and the table of ranks that it names. How ranks come about
is the business of `evaluation`; this needs no torch, so finished models are compared at once.
"""

import pyarrow as pa

from rsir_scale.data.schema import SEQUENCE_ID
from rsir_scale.errors import IntegrityError
from rsir_scale.runs import layout
from rsir_scale.runs.lineage import read_columns
from rsir_scale.runs.records import FileEntry, Record, read_entry
from rsir_scale.storage.base import Store

VALIDATION_RANK, TEST_RANK = "validation_rank", "test_rank"


class Evaluation(Record):
    """What `metrics.json` holds: user means, the protocol, and the file of per-user ranks.

    `masked_targets` counts the held-out items that occur in their users' histories: where these are masked, no model
    can reach them. Ranks beyond `rank_cap` are kept as one more than it; None where all were told apart. What encoded
    the users is in `encoder`; None in older runs.
    """

    metrics: dict[str, float]
    mask_history: bool
    rank_cap: int | None = None
    users: dict[str, int]
    masked_targets: dict[str, int]
    encoder: str | None = None
    ranks: FileEntry


def read_evaluation(store: Store, iteration: int) -> Evaluation | None:
    """What an earlier evaluation found; None before it. Raises IntegrityError."""
    key = layout.metrics(iteration)
    data = store.read_if_exists(key)
    return None if data is None else Evaluation.from_bytes(data, f"{store.root}/{key}")


def read_ranks(store: Store, evaluation: Evaluation) -> pa.Table:
    """Read the per-user ranks: sequence_id, validation_rank, test_rank (null without a test item).

    Raises:
        ObjectMissingError, IntegrityError: the file is missing or damaged.
    """
    return read_columns(store, evaluation.ranks.key, [SEQUENCE_ID, VALIDATION_RANK, TEST_RANK])


def ranks_of(store: Store, iteration: int) -> pa.Table:
    """Read the per-user ranks of a finished iteration, held to their hash. Raises IntegrityError."""
    evaluation = read_evaluation(store, iteration)
    if evaluation is None:
        raise IntegrityError(f"{store.root} has lost the metrics of iteration {iteration}: restore them")
    read_entry(store, evaluation.ranks)
    return read_ranks(store, evaluation)
