"""A whole run with each augmenter that fits nothing of its own: it verifies, and comes out the same after a kill."""

from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import pytest

from rsir_scale.config.file import resolve
from rsir_scale.config.settings import Config
from rsir_scale.loop.local import LocalPhases
from rsir_scale.loop.recursion import run_recursion
from rsir_scale.runs.begun import stored_run
from rsir_scale.runs.content import digest
from rsir_scale.runs.manifest import read_chain
from rsir_scale.runs.open_run import open_run
from rsir_scale.storage.base import Hook, Store
from rsir_scale.storage.local import LocalStore
from rsir_scale.verification.verify import verify
from tests.loop.tiny_run import tiny_dataset

AUGMENTERS: dict[str, dict[str, object]] = {
    "reordering": {"rate": 0.6},
    "insertion": {},
    "copies": {},
    "thinned": {},
    "slide_window": {"window": 5},
    "dr4sr": {"patterns": 3, "memories": 2, "blocks": 1, "feed_forward": 8, "longest": 5, "epochs": 2, "support": 1},
}


class KilledError(BaseException):
    """What no handler of ours takes for an error."""


def settings_of(name: str) -> Config:
    return resolve(
        {
            "data": {"path": str(tiny_dataset().path), "max_length": 8},
            "model": {"width": 8, "feed_forward": 8, "blocks": 1, "heads": 2},
            "training": {"max_epochs": 1, "batch_size": 64, "negatives": 16},
            "generation": {"augmenter": name, "trials_per_sequence": 2, "shard_sources": 25},
            "augmenter": AUGMENTERS[name],
            "loop": {"iterations": 2},
        }
    )


def run_to_the_end(folder: Path, name: str, *, before: Hook | None = None) -> Store:
    store = LocalStore(folder, before=before) if before else LocalStore(folder)
    with open_run(store, settings_of(name), tiny_dataset()) as run:
        run_recursion(run, LocalPhases())
    return store


@cache
def whole_run(name: str) -> Store:
    """One that nothing interrupted, made once for all tests."""
    return run_to_the_end(Path(mkdtemp(prefix="rsir-test-")) / "run", name)


def killed_as(ending: str) -> Hook:
    """A store that dies before an object with such a name."""

    def before(step: str, key: str) -> None:
        if key.endswith(ending):
            raise KilledError(step)

    return before


@pytest.mark.parametrize(
    "name",
    # The others differ from these in what they write, which their own tests look at.
    [name if name in ("insertion", "copies") else pytest.param(name, marks=pytest.mark.slow) for name in AUGMENTERS],
)
def test_a_run_verifies_and_a_killed_and_resumed_one_has_its_digest(name: str, tmp_path: Path) -> None:
    whole = whole_run(name)
    assert verify(stored_run(whole)).faults == ()
    moments = ["commits/00001.json", *(["generation/prepared.json"] if name == "insertion" else [])]
    for moment in reversed(moments):
        with pytest.raises(KilledError):
            run_to_the_end(tmp_path, name, before=killed_as(moment))
    resumed = run_to_the_end(tmp_path, name)
    assert digest(stored_run(resumed)) == digest(stored_run(whole)) is not None
    assert verify(stored_run(resumed)).faults == ()


def test_controls_keep_rows_that_repeat_what_is_there() -> None:
    written = [manifest.generation for manifest in read_chain(whole_run("copies"))[:2]]
    trainable = int((tiny_dataset().training_sequences().lengths >= 2).sum())
    # All of D_0 twice; then all of D_1, which is D_0 three times.
    assert [generation.rows for generation in written if generation] == [2 * trainable, 6 * trainable]
    assert [generation.dropped for generation in written if generation] == [0, 0]


def test_other_rows_that_repeat_what_is_there_are_dropped() -> None:
    generation = read_chain(whole_run("reordering"))[0].generation
    assert generation is not None
    assert generation.dropped > 0
