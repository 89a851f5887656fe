"""A run whose short sequences are extended: what stands in their place, killed and resumed, and in later iterations."""

from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pytest

from rsir_scale.augmenters.asrep.augmenter import Asrep
from rsir_scale.augmenters.asrep.learning import reversed_model
from rsir_scale.config.file import resolve
from rsir_scale.config.settings import Config
from rsir_scale.errors import DivergedError
from rsir_scale.loop.local import LocalPhases
from rsir_scale.loop.recursion import run_recursion
from rsir_scale.models.checkpoint import build_backbone
from rsir_scale.runs import layout
from rsir_scale.runs.content import digest
from rsir_scale.runs.lineage import load, load_first_targets, training_files
from rsir_scale.runs.manifest import read_chain
from rsir_scale.runs.open_run import open_run
from rsir_scale.runs.run import Run
from rsir_scale.storage.base import Store
from rsir_scale.storage.local import LocalStore
from rsir_scale.storage.opening import open_store
from rsir_scale.training.iteration import training_task
from rsir_scale.training.learned import load_learned_weights
from rsir_scale.training.recommender import Recommender
from rsir_scale.verification.verify import verify
from tests.augmenters.asrep.plain import plain_items_before
from tests.loop.tiny_run import tiny_dataset

SHORT, ITEMS = 8, 3


class Killed(BaseException):
    """The process ends here."""


def _config(*, iterations: int = 1, **options: object) -> Config:
    small = {"items": ITEMS, "shorter_than": SHORT, "width": 16, "heads": 2, "blocks": 1, "epochs": 3, "patience": 3}
    return resolve(
        {
            "data": {"path": str(tiny_dataset().path), "max_length": 12},
            "model": {"width": 16, "feed_forward": 16, "blocks": 1, "heads": 2, "dropout": 0.1},
            "training": {"max_epochs": 2, "batch_size": 16, "negatives": 16, "learning_rate": 0.02},
            "generation": {"augmenter": "asrep", "shard_sources": 25},
            "augmenter": {**small, "learning_rate": 0.02, **options},
            "loop": {"iterations": iterations},
        }
    )


def _finish(store: Store, config: Config) -> Run:
    with open_run(store, config, tiny_dataset()) as run:
        run_recursion(run, LocalPhases())
    return Run(store, tiny_dataset(), config)


@cache
def finished() -> Run:
    """Theta_0..theta_2; theta_1 and theta_2 learn from extended sequences."""
    return _finish(open_store(Path(mkdtemp(prefix="rsir-test-")) / "run"), _config(iterations=2))


def test_short_sequences_are_replaced_by_what_the_plain_reference_extends_them_to() -> None:
    run, real = finished(), tiny_dataset().training_sequences()
    files = training_files(run, 1)
    found, first = load(run, files), load_first_targets(run, files)
    assert first is not None
    options = Asrep(run, 0).options
    model = build_backbone(reversed_model(options, item_count=run.dataset.meta.items))
    model = load_learned_weights(run.store, 0, model).double()
    known = np.unique(real.items).tolist()
    expected = []
    for user in range(len(real)):
        items = real.row(user).tolist()
        before = plain_items_before(model, known, items, count=min(ITEMS, SHORT - len(items)))
        expected.append((before + items, max(1, len(before))))
    rows = [(found.row(row).tolist(), int(first[row])) for row in range(len(found))]
    assert sorted(rows) == sorted(expected)
    assert 0 < sum(position > 1 for _, position in rows) < len(rows)


def test_every_row_is_verified_and_the_reversed_model_is_named_by_the_manifest() -> None:
    run = finished()
    assert verify(run).ok
    manifest = read_chain(run.store)[0]
    assert next(entry.key for entry in manifest.files if entry.kind == "learned") == layout.learned(0)
    assert any(fact.startswith("a reversed model wrote") for fact in manifest.facts)
    generation = manifest.generation
    assert generation is not None
    assert 0 < generation.counters["pseudo_items"] < ITEMS * generation.rows


def test_later_iterations_fit_nothing_write_nothing_and_say_so() -> None:
    run = finished()
    _, later, _ = read_chain(run.store)
    assert later.generation is not None
    assert later.generation.rows == 0
    assert any("extended every short sequence in iteration 0" in fact for fact in later.facts)
    assert not run.store.exists(layout.learned(1))


def test_what_stands_in_a_users_place_is_trained_on_as_the_users_own() -> None:
    run = finished()
    training = run.config.training.model_copy(update={"synthetic_share": 0.5, "synthetic_weight": 0.25})
    config = run.config.model_copy(update={"training": training})
    learner = Recommender(training_task(replace(run, config=config), 1))
    assert set(learner.task.weights.tolist()) == {1.0}
    rows = np.concatenate([learner.rows(update) for update in range(learner.budget.interval)])
    assert sorted(rows.tolist()) == np.flatnonzero(learner.task.sequences.lengths > 1).tolist()


def test_killed_while_the_reversed_model_is_fitted_it_ends_in_the_same_digest(tmp_path: Path) -> None:
    state = layout.fit_state(layout.learning(0))
    saved: list[str] = []

    def before(step: str, key: str) -> None:
        if key == state and step.startswith("put"):
            saved.append(step)
            if len(set(saved)) < len(saved):
                raise Killed

    config = _config()
    with pytest.raises(Killed):
        _finish(LocalStore(tmp_path / "run", before=before), config)
    assert open_store(tmp_path / "run").exists(state)
    resumed, whole = _finish(open_store(tmp_path / "run"), config), _finish(open_store(tmp_path / "whole"), config)
    assert digest(resumed) == digest(whole)
    assert not resumed.store.exists(state)


def test_where_the_reversed_model_diverges_the_run_names_it_and_can_be_resumed(tmp_path: Path) -> None:
    with pytest.raises(DivergedError, match=r"reversed model of asrep.*augmenter\.learning_rate=1e\+30") as error:
        _finish(open_store(tmp_path), _config(learning_rate=1e30))
    assert error.value.exit_code == 3
