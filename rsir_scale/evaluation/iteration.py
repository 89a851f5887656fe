"""Evaluating theta_k of a run: ranks of every user's held-out items, kept, and the metrics over them.

Metrics are over the full catalogue; whether history is masked and how far ranks are told apart are settings and stand
in the file. Ranks are kept per user, so that two models can be compared by a paired test without being run again.
"""

from contextlib import suppress

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from rsir_scale.config.settings import EvaluationConfig
from rsir_scale.data.schema import SEQUENCE_ID
from rsir_scale.evaluation.evaluate import EvaluationSet, rank_sets, test_set, validation_set
from rsir_scale.evaluation.metrics import summarise
from rsir_scale.models.base import Backbone
from rsir_scale.runs import layout
from rsir_scale.runs.evaluated import TEST_RANK, VALIDATION_RANK, Evaluation
from rsir_scale.runs.records import write_entry
from rsir_scale.runs.run import Run
from rsir_scale.steps import Tell, counted, silent
from rsir_scale.storage.base import AlreadyExistsError


def evaluate_iteration(run: Run, iteration: int, backbone: Backbone, tell: Tell = silent) -> Evaluation:
    """Rank, write ranks and metrics, and return what counts: these metrics, or those of an earlier attempt.

    Raises:
        StorageFullError: the store took no more bytes.
        IntegrityError: metrics.json is there and damaged.
    """
    store, evaluation = run.store, _evaluate(run, iteration, backbone, tell)
    with suppress(AlreadyExistsError):
        store.create(layout.metrics(iteration), evaluation.to_bytes())
        return evaluation
    key = layout.metrics(iteration)
    return Evaluation.from_bytes(store.read(key), f"{store.root}/{key}")


def _evaluate(run: Run, iteration: int, backbone: Backbone, tell: Tell) -> Evaluation:
    config, training, held_out = run.config.evaluation, run.dataset.training_sequences(), run.dataset.held_out()
    sets = {"validation": validation_set(training, held_out), "test": test_set(training, held_out)}
    users = sum(len(each.targets) for each in sets.values())
    ranks = rank_sets(
        backbone,
        sets,
        mask_history=config.mask_history,
        cap=config.rank_cap,
        tell=counted(tell, "evaluating", users, "target"),
    )
    table = _ranks_table(sets, ranks, config.rank_cap)
    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer, compression="zstd")
    entry = write_entry(
        run.store,
        layout.ranks(iteration, layout.new_attempt()),
        "ranks",
        buffer.getvalue().to_pybytes(),
        rows=table.num_rows,
    )
    metrics: dict[str, float] = {}
    for name, values in ranks.items():
        metrics |= summarise(values, config, prefix=name)
    ranked = {name: len(values) for name, values in ranks.items()}
    return Evaluation(
        metrics=metrics,
        mask_history=config.mask_history,
        rank_cap=config.rank_cap,
        users=ranked,
        masked_targets=masked_targets(sets, config),
        encoder=backbone.encodes_in(),
        ranks=entry,
    )


def masked_targets(sets: dict[str, EvaluationSet], config: EvaluationConfig) -> dict[str, int]:
    """How many targets of each set the mask of the history hides."""
    return {name: int(users.masked().sum()) if config.mask_history else 0 for name, users in sets.items()}


def _ranks_table(
    sets: dict[str, EvaluationSet], ranks: dict[str, npt.NDArray[np.int64]], rank_cap: int | None
) -> pa.Table:
    """One row a user with a validation item; a user without a test item has rank null there."""
    users = sets["validation"].contexts.ids
    test = np.zeros(len(users), dtype=np.int64)
    test[np.searchsorted(users, sets["test"].contexts.ids)] = ranks["test"]
    return pa.table(
        {
            SEQUENCE_ID: users,
            VALIDATION_RANK: ranks["validation"],
            TEST_RANK: pa.array(test, mask=test == 0),
        },
        metadata={} if rank_cap is None else {"rank_cap": str(rank_cap)},
    )
