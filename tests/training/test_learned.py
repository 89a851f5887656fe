"""What an augmenter learns is fitted, saved, resumed and published as theta_k is, beside it."""

from pathlib import Path

import pytest
import torch

from rsir_scale.config.settings import Config, DataConfig, TrainingConfig
from rsir_scale.errors import DivergedError, IntegrityError
from rsir_scale.runs import layout
from rsir_scale.runs.events import TRAINING_RESTARTED, read_events
from rsir_scale.runs.learned import LearnedModel, has_learned, learned_files, read_learned
from rsir_scale.runs.leftovers import leftovers
from rsir_scale.runs.run import Run
from rsir_scale.storage.base import ObjectMissingError, Store, sha256_of
from rsir_scale.storage.local import LocalStore
from rsir_scale.storage.opening import open_store
from rsir_scale.training.epoch import Progress, fit
from rsir_scale.training.learned import fit_learner, load_learned_weights
from rsir_scale.training.state import FitState, StateFiles
from rsir_scale.training.worker import Worker
from tests.training.lines import Line, LineLearner
from tests.training.market import market

ALONE = Worker()


class Killed(BaseException):
    """The process ends here."""


def _run(store: Store) -> Run:
    return Run(store, market(), Config(data=DataConfig(path=market().path)))


def _fitted(store: Store, learner: LineLearner) -> dict[str, torch.Tensor]:
    fit_learner(_run(store), 2, learner, worker=ALONE)
    return load_learned_weights(store, 2, Line()).state_dict()


def _same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_the_weights_published_are_those_of_the_fit_and_only_they_stay(tmp_path: Path) -> None:
    store, learner = open_store(tmp_path), LineLearner()
    whole = fit(LineLearner(), ALONE)
    assert _same(_fitted(store, learner), whole.weights)
    record = read_learned(store, 2)
    position = whole.position
    assert (record.updates, record.best_update, record.score) == (12, position.best_update, position.best_score)
    assert (record.name, record.score_name, record.curve) == (learner.name, learner.score_name, position.curve)
    assert sorted(store.list("")) == sorted(entry.key for entry in learned_files(store, 2))
    assert learner.begun == ["begun"]


def test_what_is_published_is_not_fitted_again(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    _fitted(store, LineLearner())
    again = LineLearner(identity=(8,))
    before = {key: store.read(key) for key in store.list("")}
    fit_learner(_run(store), 2, again, worker=ALONE)
    assert again.begun == []
    assert {key: store.read(key) for key in store.list("")} == before


def test_killed_at_any_step_and_taken_up_again_it_ends_in_the_same_weights(tmp_path: Path) -> None:
    steps: list[str] = []
    whole = _fitted(LocalStore(tmp_path / "whole", before=lambda step, key: steps.append(step)), LineLearner())
    started_anew = 0
    stops = range(0, len(steps), 3)
    for stop in stops:
        left = [stop]

        def before(step: str, key: str, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise Killed

        folder, learner = tmp_path / f"stop-{stop}", LineLearner()
        try:
            fit_learner(_run(LocalStore(folder, before=before)), 2, learner, worker=ALONE)
        except Killed:
            learner.begun.clear()
        assert _same(_fitted(open_store(folder), learner), whole)
        started_anew += len(learner.begun)
        # Killed after publishing, its state is a leftover.
        assert {key for key in open_store(folder).list("") if "state" in key} <= set(leftovers(open_store(folder)))
    assert 0 < started_anew < len(stops) // 2


def test_a_damaged_state_is_told_and_costs_time_alone(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    StateFiles(store, layout.learning(2)).write(_first_state())
    store.put(layout.fit_state(layout.learning(2)), b"{")
    assert _same(_fitted(store, LineLearner()), fit(LineLearner(), ALONE).weights)
    (event,) = [found for found in read_events(store) if found["event"] == TRAINING_RESTARTED]
    assert (event["iteration"], event["fit"]) == (2, "the line of a test")


def _first_state() -> FitState:
    states: list[FitState] = []
    fit(LineLearner(), ALONE, save_state=states.append)
    return states[0]


def test_scores_below_nothing_choose_the_best_weights_too() -> None:
    reports: list[Progress] = []
    result = fit(LineLearner("loss"), ALONE, report=reports.append)
    rising = fit(LineLearner("negative loss"), ALONE, report=reports.append)
    # It gets better all the time, so the first weights have the greatest loss, and the last the smallest.
    assert (result.position.best_update, rising.position.best_update) == (3, 12)
    assert {report.score_name for report in reports} == {"loss", "negative loss"}


def test_a_learner_that_validates_on_nothing_keeps_the_latest_weights() -> None:
    result = fit(LineLearner("updates"), ALONE)
    assert (result.position.best_update, result.position.best_score) == (12, 12.0)


@pytest.mark.parametrize(
    ("learner", "told"),
    [
        (LineLearner(config=TrainingConfig(learning_rate=1e30)), r"augmenter\.pace=1e\+30: no state was saved before"),
        (LineLearner("nothing"), r"a score is not finite, between updates 0 and 3 at augmenter\.pace=0\.1"),
    ],
    ids=["loss", "score"],
)
def test_a_fit_that_diverges_names_what_diverged_and_the_setting_to_lower(
    tmp_path: Path, learner: LineLearner, told: str
) -> None:
    with pytest.raises(DivergedError, match=rf"^the line of a test: .*{told}.* set a lower rate"):
        fit_learner(_run(open_store(tmp_path)), 2, learner, worker=ALONE)
    assert not has_learned(open_store(tmp_path), 2)


def test_weights_of_another_model_and_damaged_ones_are_refused(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with pytest.raises(ObjectMissingError):
        load_learned_weights(store, 2, Line())
    assert learned_files(store, 2) == []
    _fitted(store, LineLearner())
    with pytest.raises(IntegrityError, match=r"do not fit .*'line\."):
        load_learned_weights(store, 2, Line(width=2))
    (entry,) = read_learned(store, 2).weights
    data = store.read(entry.key)
    store.put(entry.key, data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(IntegrityError, match="has SHA-256"):
        load_learned_weights(store, 2, Line())


def test_the_manifests_entries_hold_the_record_and_every_file_of_weights(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    _fitted(store, LineLearner())
    entries = learned_files(store, 2)
    assert entries[0].key == layout.learned(2)
    assert all(entry.kind == "learned" and sha256_of(store, entry.key)[0] == entry.sha256 for entry in entries)
    record = LearnedModel.from_bytes(store.read(layout.learned(2)), "record")
    assert tuple(entries[1:]) == record.weights


def test_rows_of_items_are_refused_to_a_model_that_has_none() -> None:
    with pytest.raises(TypeError, match="Line has no rows of items"):
        fit(LineLearner(config=TrainingConfig(item_updates="sparse")), ALONE)
