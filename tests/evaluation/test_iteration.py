"""What an evaluation says of its own protocol."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from rsir_scale.config.settings import EvaluationConfig
from rsir_scale.data.dataset import PreparedDataset
from rsir_scale.evaluation import iteration
from rsir_scale.evaluation.evaluate import EvaluationSet, rank_sets
from rsir_scale.evaluation.iteration import masked_targets
from rsir_scale.models.base import Backbone
from rsir_scale.models.repository import load_trained
from rsir_scale.outputs import reevaluate
from rsir_scale.runs import layout
from rsir_scale.runs.begun import stored_run
from rsir_scale.runs.evaluated import read_ranks
from tests.evaluation.worlds import LastItemBackbone, sequences_of
from tests.loop.tiny_run import tiny_run


def test_targets_in_the_history_are_counted_where_it_is_masked() -> None:
    contexts = sequences_of([[1, 2], [3, 3, 4], [5]])
    sets = {
        "validation": EvaluationSet(contexts, np.array([2, 4, 6], dtype=np.int32)),
        "test": EvaluationSet(contexts, np.array([3, 1, 5], dtype=np.int32)),
    }
    assert masked_targets(sets, EvaluationConfig(mask_history=True)) == {"validation": 2, "test": 1}
    assert masked_targets(sets, EvaluationConfig(mask_history=False)) == {"validation": 0, "test": 0}


def test_the_setting_decides_what_is_masked_wherever_a_stored_model_is_ranked(tmp_path: Path, monkeypatch) -> None:
    run = tiny_run().copy_to(tmp_path / "run")
    path = run.path / layout.RUN_CONFIG
    text = path.read_text()
    assert text.count("mask_history: true") == 1
    path.write_text(text.replace("mask_history: true", "mask_history: false"))
    asked: list[bool] = []

    def listening(
        backbone: Backbone, sets: dict[str, EvaluationSet], *, mask_history: bool, cap: int | None, **more: Any
    ) -> dict[str, npt.NDArray[np.int64]]:
        asked.append(mask_history)
        return rank_sets(backbone, sets, mask_history=mask_history, cap=cap, **more)

    for module in (iteration, reevaluate):
        monkeypatch.setattr(module, "rank_sets", listening)
    for mask in (True, False):
        run.store.delete(layout.metrics(0))
        config = run.config.model_copy(update={"evaluation": EvaluationConfig(mask_history=mask)})
        iteration.evaluate_iteration(replace(run, config=config), 0, load_trained(run, 0))
    reevaluate.reevaluate(stored_run(run.store), 0)
    assert asked == [True, False, False]


def test_a_user_without_a_test_item_has_a_validation_rank_and_no_other(tmp_path: Path, monkeypatch) -> None:
    run = tiny_run().copy_to(tmp_path / "run")
    held_out = run.dataset.held_out()
    user = int(np.flatnonzero(held_out.test)[3])
    test = held_out.test.copy()
    test[user] = 0
    monkeypatch.setattr(PreparedDataset, "held_out", lambda _: replace(held_out, test=test))
    run.store.delete(layout.metrics(0))
    backbone = load_trained(run, 0)
    found = iteration.evaluate_iteration(run, 0, backbone)
    assert found.encoder == backbone.encodes_in()
    rows = {row["sequence_id"]: row for row in read_ranks(run.store, found).to_pylist()}
    assert [number for number, row in rows.items() if row["test_rank"] is None] == [user]
    assert all(row["validation_rank"] >= 1 for row in rows.values())
    assert found.users["test"] == found.users["validation"] - 1


@pytest.mark.parametrize("cap", [20, 22, None])
def test_ranks_beyond_the_cap_are_kept_as_one_more_and_the_cap_is_recorded(tmp_path: Path, cap: int | None) -> None:
    run = tiny_run().copy_to(tmp_path / "run")
    columns = [iteration.VALIDATION_RANK, iteration.TEST_RANK]
    vectors = torch.randn((2, run.dataset.meta.items + 1, 4), generator=torch.Generator().manual_seed(0))
    backbone = LastItemBackbone(*vectors, max_length=5)

    def evaluated(rank_cap: int | None) -> tuple[iteration.Evaluation, pa.Table]:
        run.store.delete(layout.metrics(0))
        config = run.config.model_copy(update={"evaluation": EvaluationConfig(rank_cap=rank_cap)})
        found = iteration.evaluate_iteration(replace(run, config=config), 0, backbone)
        return found, read_ranks(run.store, found)

    (full, all_ranks), (found, ranks) = evaluated(None), evaluated(cap)
    assert found.rank_cap == cap
    assert found.metrics == full.metrics
    path = run.path / found.ranks.key
    assert (pq.read_schema(path).metadata or {}).get(b"rank_cap") == (str(cap).encode() if cap else None)
    for column in columns:
        told, every = ranks[column].to_numpy(), all_ranks[column].to_numpy()
        assert every.max() > 22
        assert np.array_equal(told, every if cap is None else np.minimum(every, cap + 1))
