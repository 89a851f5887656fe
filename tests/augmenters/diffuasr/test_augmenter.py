"""DiffuASR in whole runs: what it writes, what it refuses, and that a stop changes nothing."""

from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pytest

from rsir_scale.augmenters.diffuasr.augmenter import DiffuASR
from rsir_scale.augmenters.opening import augmenter_of
from rsir_scale.config.file import resolve
from rsir_scale.config.settings import Config
from rsir_scale.data.sequences import Sequences
from rsir_scale.errors import ConfigError
from rsir_scale.generation.learning import fit_augmenter_locally
from rsir_scale.loop.local import LocalPhases
from rsir_scale.loop.recursion import run_recursion
from rsir_scale.runs import layout
from rsir_scale.runs.begun import stored_run
from rsir_scale.runs.learned import read_learned
from rsir_scale.runs.lineage import load, load_first_targets, training_files
from rsir_scale.runs.manifest import read_chain
from rsir_scale.runs.open_run import HeldRun, open_run
from rsir_scale.runs.plan import ShardPlan
from rsir_scale.storage.base import Store
from rsir_scale.storage.opening import open_store
from rsir_scale.training.epoch import Progress
from rsir_scale.training.state import StateFiles
from rsir_scale.verification.verify import verify
from tests.loop.tiny_run import tiny_dataset

M, SHORT = 2, 9


class Killed(BaseException):
    """The process is gone, and nothing cleans up."""


def config(*, model: dict[str, object] | None = None, **options: object) -> Config:
    """Two iterations of a small model and a small diffusion."""
    own = {"items": M, "least_context": 2, "shorter_than": SHORT, "steps": 50, "sampling_steps": 2}
    return resolve(
        {
            "data": {"path": str(tiny_dataset().path), "max_length": 8},
            "model": {"width": 8, "feed_forward": 8, "blocks": 1, "heads": 2, **(model or {})},
            "training": {"max_epochs": 2, "batch_size": 16, "negatives": 16, "learning_rate": 0.02},
            "generation": {"augmenter": "diffuasr", "shard_sources": 25},
            "augmenter": {**own, "batch_size": 16, "epochs": 2, **options},
            "loop": {"iterations": 2},
        }
    )


class KilledWhileLearning(LocalPhases):
    """Dies once the first interval of the diffusion's fit is saved."""

    def generate(self, run: HeldRun, plan: ShardPlan) -> None:
        def die(progress: Progress) -> None:
            raise Killed

        fit_augmenter_locally(augmenter_of(run, plan.iteration), die)


def run_into(folder: Path, phases: LocalPhases) -> Store:
    store = open_store(folder)
    with open_run(store, config(), tiny_dataset()) as run:
        run_recursion(run, phases)
    return store


@cache
def whole_run() -> Store:
    return run_into(Path(mkdtemp(prefix="rsir-test-")) / "run", LocalPhases())


def data_of(iteration: int) -> tuple[Sequences, np.ndarray]:
    """D_k, and where its loss begins."""
    run = stored_run(whole_run())
    files = training_files(run, iteration)
    targets, sequences = load_first_targets(run, files), load(run, files)
    return sequences, np.ones(len(sequences), dtype=np.int64) if targets is None else targets


def test_short_sequences_are_replaced_by_longer_ones_whose_new_items_carry_no_loss() -> None:
    real = tiny_dataset().training_sequences()
    for iteration in (1, 2):
        sequences, targets = data_of(iteration)
        # One row a user, in any order: the extended ones end in the user's own items.
        written = {tuple(sequences.row(row)): int(targets[row]) for row in range(len(sequences))}
        assert len(sequences) == len(real)
        for user in range(len(real)):
            own = tuple(real.row(user))
            found = [first for items, first in written.items() if items[-len(own) :] == own]
            assert (M if len(own) < SHORT else 1) in found
        assert sorted(sequences.lengths) == sorted(real.lengths + M * (real.lengths < SHORT))


def test_a_later_iteration_writes_other_items_before_the_same_sequences() -> None:
    first, second = ({tuple(data.row(row)) for row in range(len(data))} for data, _ in (data_of(1), data_of(2)))
    assert first != second
    assert {items[M:] for items in first} == {items[M:] for items in second}


def test_a_run_is_verified_by_writing_it_again_and_names_the_diffusion_model() -> None:
    store = whole_run()
    report = verify(stored_run(store))
    assert (report.ok, report.faults) == (True, ())
    assert report.rows_rechecked == report.rows > 0
    for manifest in read_chain(store)[:2]:
        learned = {entry.key for entry in manifest.files if entry.kind == "learned"}
        assert {entry.key for entry in read_learned(store, manifest.iteration).weights} < learned
        generation = manifest.generation
        assert generation is not None
        assert generation.counters["pseudo_items"] == M * generation.counters["rows_kept"]
        assert any(f"wrote {generation.counters['pseudo_items']} items" in fact for fact in manifest.facts)


def test_a_run_that_is_killed_while_it_learns_ends_in_the_same_rows_and_weights(tmp_path: Path) -> None:
    with pytest.raises(Killed):
        run_into(tmp_path, KilledWhileLearning())
    state = StateFiles(open_store(tmp_path), layout.learning(0)).read()
    assert state is not None
    again, whole = run_into(tmp_path, LocalPhases()), whole_run()
    assert 0 < state.position.update < read_learned(whole, 0).updates
    for iteration in (0, 1):
        first, second = (read_learned(store, iteration).weights for store in (again, whole))
        assert [entry.sha256 for entry in first] == [entry.sha256 for entry in second]
        contents = [read_chain(store)[iteration].generation.content_sha256 for store in (again, whole)]
        assert contents[0] == contents[1]


def test_a_width_without_a_map_is_refused_before_anything_is_trained() -> None:
    with pytest.raises(ConfigError, match=r"model\.width=62 makes a map of 2 x 31"):
        DiffuASR.check(config(model={"width": 62}), tiny_dataset())


def test_a_dataset_without_a_sequence_to_learn_from_is_refused_with_both_options() -> None:
    with pytest.raises(ConfigError, match=r"augmenter\.items=9 and augmenter\.least_context=9 need .* of 18 items"):
        DiffuASR.check(config(items=9, least_context=9), tiny_dataset())


def test_settings_that_work_are_not_refused() -> None:
    DiffuASR.check(config(), tiny_dataset())
