from typing import Any

import pytest

from rsir_scale.studies.verdict import CANNOT_TELL, DOES_NOT, HELPS, sentence_for, word_for


def entry(low: float, high: float, p_holm: float = 0.01) -> dict[str, Any]:
    mean = (low + high) / 2
    percent = [100 * x / 0.05 for x in (mean, low, high)]
    return {"low": low, "high": high, "mean": mean, "base": 0.05, "percent": percent, "p_holm": p_holm} | {
        "detectable": 0.7 * (high - low)
    }


ABOVE, AROUND, BELOW = entry(0.001, 0.003), entry(-0.001, 0.002, 0.5), entry(-0.003, -0.001)


@pytest.mark.parametrize(
    ("base", "longer", "word"),
    [
        (ABOVE, ABOVE, HELPS),
        (ABOVE, None, HELPS),
        (ABOVE, AROUND, CANNOT_TELL),
        (ABOVE, BELOW, DOES_NOT),
        (AROUND, ABOVE, CANNOT_TELL),
        (BELOW, None, DOES_NOT),
        (entry(0.001, 0.003, p_holm=0.06), ABOVE, CANNOT_TELL),
    ],
)
def test_an_arm_helps_only_where_it_is_above_base_and_longer_training(
    base: dict[str, Any], longer: dict[str, Any] | None, word: str
) -> None:
    assert word_for(base, longer) == word


def arm(base: dict[str, Any], longer: dict[str, Any] | None) -> dict[str, Any]:
    against = {} if longer is None else {"longer": {"test/NDCG@10": longer}}
    return {"name": "rsir", "dataset": "toys", "metrics": {"test/NDCG@10": base}, "against": against} | {
        "ledger": {"price": {"updates": 2.0, "seconds": 3.14}},
        "verdict": word_for(base, longer),
    }


def test_a_sentence_has_gain_interval_control_and_price() -> None:
    assert sentence_for(arm(ABOVE, ABOVE), "NDCG@10") == (
        "rsir on toys: helps. NDCG@10 +4.0 % [+2.0, +6.0] against the base, +4.0 % [+2.0, +6.0] against longer "
        "training, at 2.0 times the base's updates and 3.1 times its time."
    )


def test_a_study_that_cannot_tell_says_what_it_would_have_shown() -> None:
    said = sentence_for(arm(ABOVE, AROUND), "NDCG@10")
    assert said.endswith("This study shows a difference of 4.2 % in four of five cases.")


def test_a_base_of_nothing_is_told_in_the_metric_s_own_unit() -> None:
    zero = {**ABOVE, "base": 0.0, "percent": None}
    assert "NDCG@10 +0.0020 [+0.0010, +0.0030] against the base" in sentence_for(arm(zero, None), "NDCG@10")
