"""Metrics of one held-out item, against sums written out by hand and against their definitions over a ranked list."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsir_scale.config.settings import EvaluationConfig
from rsir_scale.errors import ConfigError
from rsir_scale.evaluation.metrics import METRICS, beyond_cutoffs, check_metrics, mean_of, per_user, summarise
from rsir_scale.runs.selection import SELECTION_METRIC

# rank: NDCG, Recall, Precision, F1, MRR, HitRate, MAP at 10
BY_HAND = {
    1: (1.0, 1.0, 0.1, 2 / 11, 1.0, 1.0, 1.0),
    3: (0.5, 1.0, 0.1, 2 / 11, 1 / 3, 1.0, 1 / 3),
    10: (1 / math.log2(11), 1.0, 0.1, 2 / 11, 0.1, 1.0, 0.1),
    11: (0.0,) * 7,
}
AS_EVER = EvaluationConfig()


@pytest.mark.parametrize("rank", BY_HAND)
def test_metrics_at_ten_are_what_one_computes_by_hand(rank: int) -> None:
    values = [float(per_user(np.array([rank]), metric=metric, cutoff=10)[0]) for metric in METRICS]
    assert values == pytest.approx(BY_HAND[rank], abs=1e-15)


@given(rank=st.integers(1, 60), cutoff=st.integers(1, 30))
def test_metrics_follow_their_definitions_over_a_ranked_list(rank: int, cutoff: int) -> None:
    relevance = [1.0 if place == rank else 0.0 for place in range(1, 61)][:cutoff]
    precision, recall = sum(relevance) / cutoff, sum(relevance) / 1
    expected = {
        # The ideal list has its one relevant item first: its gain is 1.
        "NDCG": sum(gain / math.log2(1 + place) for place, gain in enumerate(relevance, 1)),
        "Recall": recall,
        "Precision": precision,
        "F1": 2 * precision * recall / (precision + recall) if recall else 0.0,
        "MRR": max((gain / place for place, gain in enumerate(relevance, 1)), default=0.0),
        "HitRate": 1.0 if any(relevance) else 0.0,
        # Precision at each place that holds a relevant item, over the one relevant item that there is.
        "MAP": sum(gain * sum(relevance[:place]) / place for place, gain in enumerate(relevance, 1)) / 1,
    }
    ranks = np.array([rank], dtype=np.int64)
    assert {name: float(per_user(ranks, metric=name, cutoff=cutoff)[0]) for name in METRICS} == pytest.approx(expected)


@given(ranks=st.lists(st.integers(1, 50), min_size=1, max_size=30))
def test_a_summary_is_the_mean_over_users(ranks: list[int]) -> None:
    summary = summarise(np.array(ranks, dtype=np.int64), AS_EVER, prefix="test")
    names = ("NDCG", "Recall", "Precision", "F1", "MRR")
    assert set(summary) == {f"test/{metric}@{cutoff}" for metric in names for cutoff in (10, 20)}
    assert summary["test/Recall@20"] == pytest.approx(sum(rank <= 20 for rank in ranks) / len(ranks))
    gains = [1 / math.log2(1 + rank) if rank <= 10 else 0.0 for rank in ranks]
    assert summary["test/NDCG@10"] == pytest.approx(sum(gains) / len(ranks))


def test_no_users_score_nothing_instead_of_failing() -> None:
    assert set(summarise(np.empty(0, dtype=np.int64), AS_EVER, prefix="test").values()) == {0.0}


@given(ranks=st.lists(st.integers(1, 50), max_size=30), cutoff=st.integers(1, 30), metric=st.sampled_from([*METRICS]))
def test_a_recorded_name_gives_the_mean_over_users_at_any_cutoff(ranks: list[int], cutoff: int, metric: str) -> None:
    values = per_user(np.array(ranks, dtype=np.int64), metric=metric, cutoff=cutoff).tolist()
    mean = mean_of(np.array(ranks, dtype=np.int64), f"{metric}@{cutoff}")
    assert mean == pytest.approx(sum(values) / max(1, len(values)))


@pytest.mark.parametrize("name", ["AUC@10", "NDCG", "NDCG@", "NDCG@0", "NDCG@-1", "NDCG@x", "@10", "NDCG@10@20", ""])
def test_a_recorded_name_that_says_nothing_to_this_version_has_no_mean(name: str) -> None:
    assert mean_of(np.array([1]), name) is None


def test_the_recursion_ends_by_a_metric_that_is_recorded() -> None:
    told = EvaluationConfig(metrics=("MAP",), cutoffs=(1,))
    assert summarise(np.array([1]), told, prefix="validation") == {"validation/MAP@1": 1.0, SELECTION_METRIC: 1.0}


@pytest.mark.parametrize(
    ("wrong", "named"), [({"metrics": ("NDCG", "AUC")}, "'AUC'"), ({"cutoffs": (10, 30)}, "evaluation.cutoffs has 30")]
)
def test_what_cannot_be_recorded_is_refused_before_a_run_begins(wrong: dict[str, tuple[object]], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        check_metrics(EvaluationConfig(**wrong), 30)


@given(item_count=st.integers(1, 60), cutoff=st.integers(1, 80))
def test_what_the_mask_hides_is_no_hit_at_any_cutoff_that_is_accepted(item_count: int, cutoff: int) -> None:
    told = EvaluationConfig(metrics=("HitRate",), cutoffs=(cutoff,))
    try:
        check_metrics(told, item_count)
    except ConfigError:
        assert cutoff > 20
        assert cutoff >= item_count
        return
    hidden = np.array([beyond_cutoffs(item_count)])
    assert summarise(hidden, told, prefix="test")[f"test/HitRate@{cutoff}"] == 0.0


def test_an_unknown_metric_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="'AUC'"):
        per_user(np.array([1]), metric="AUC", cutoff=10)
