"""The sentences that a run ends with."""

from pathlib import Path

import pytest

from rsir_scale.analysis.significance import Difference
from rsir_scale.analysis.verdict import GAIN, LOSS, ON_TEST_ALONE, OPEN, Compared, Verdict, told, verdict_of
from rsir_scale.config.settings import EvaluationConfig
from rsir_scale.errors import IntegrityError
from rsir_scale.runs.evaluated import read_evaluation
from rsir_scale.runs.manifest import read_chain
from rsir_scale.runs.selection import SELECTION_METRIC
from tests.loop.tiny_run import TinyRun, tiny_run


def interval(low: float, high: float, *, base: float = 0.5) -> Difference:
    mean = (low + high) / 2
    return Difference(base=base, treated=base + mean, mean=mean, low=low, high=high, p=0.5, detectable=0.1)


def verdict(run: TinyRun, **evaluation: object) -> Verdict:
    return verdict_of(run.store, read_chain(run.store), EvaluationConfig.model_validate(evaluation))


@pytest.mark.parametrize(("low", "high", "word"), [(0.1, 0.2, GAIN), (-0.2, -0.1, LOSS), (-0.1, 0.2, OPEN)])
def test_test_alone_has_the_word(low: float, high: float, word: str) -> None:
    assert Compared("NDCG@10", interval(low, high), interval(-0.1, 0.2)).word == word
    assert Compared("NDCG@10", interval(-0.1, 0.1), interval(low, high)).word == OPEN


def test_a_gain_that_validation_does_not_point_to_is_told_apart() -> None:
    assert Compared("NDCG@10", interval(0.1, 0.2), interval(-0.2, 0.1)).word == ON_TEST_ALONE


def test_a_difference_is_told_in_per_cent_of_the_base_and_as_it_is_where_that_is_nothing() -> None:
    assert told(interval(-0.05, 0.15)) == "+10.0 % [-10.0, +30.0]"
    assert told(interval(-0.05, 0.15, base=0.0)) == "+0.0500 [-0.0500, +0.1500]"


def test_a_run_is_judged_by_what_it_recorded_at_its_best_later_iteration() -> None:
    run = tiny_run()
    manifests, found = read_chain(run.store), verdict(run, metrics=["MRR", "Recall", "F1"], cutoffs=[20, 10])
    assert [each.metric for each in found.compared] == ["MRR@20", "Recall@20"]
    scores = {manifest.iteration: manifest.metrics[SELECTION_METRIC] for manifest in manifests}
    assert found.iteration == max((1, 2), key=scores.__getitem__)
    assert found.best_iteration == max(scores, key=scores.__getitem__)
    for each in found.compared:
        for split, compared in (("test", each.test), ("validation", each.validation)):
            recorded = [manifests[k].metrics[f"{split}/{each.metric}"] for k in (0, found.iteration)]
            assert [compared.base, compared.treated] == pytest.approx(recorded)
    assert f"Iteration {found.iteration} against 0: MRR@20" in found.sentences[0]
    assert "No control was run" in found.sentences[-1]


def test_theta_0_alone_is_compared_with_nothing() -> None:
    run = tiny_run()
    found = verdict_of(run.store, read_chain(run.store)[:1], run.config.evaluation)
    assert (found.iteration, found.compared, found.best_iteration) == (None, (), 0)
    assert "Only theta_0 was trained" in found.sentences[1]


def test_ranks_that_were_changed_or_lost_are_named(tmp_path: Path) -> None:
    run = tiny_run().copy_to(tmp_path / "run")
    key = read_evaluation(run.store, 0).ranks.key
    file = run.path / key
    file.write_bytes(file.read_bytes()[::-1])
    with pytest.raises(IntegrityError, match=key):
        verdict(run)
    file.unlink()
    with pytest.raises(IntegrityError, match=key):
        verdict(run)
