"""A driver that was silent too long, and has a successor: it finishes nothing and says nothing in the other's run."""

from pathlib import Path

import pytest

from rsir_scale.errors import IntegrityError, ResumableError
from rsir_scale.loop.driver import _drive
from rsir_scale.loop.local import LocalPhases
from rsir_scale.loop.stop import Stopper
from rsir_scale.runs import layout
from rsir_scale.runs.begun import is_run
from rsir_scale.runs.events import RUN_FAILED, read_events
from rsir_scale.runs.open_run import HeldRun
from rsir_scale.runs.plan import ShardPlan
from rsir_scale.runs.run import Run
from rsir_scale.runs.status import read_status
from rsir_scale.steps import silent
from rsir_scale.storage.opening import open_store
from tests.generation import fragile
from tests.loop.tiny_run import tiny_run


class Overtaken(LocalPhases):
    """Phases during whose generation another driver takes over."""

    def generate(self, run: HeldRun, plan: ShardPlan) -> None:
        super().generate(run, plan)
        run.store.create(layout.lease(1), run.store.read(layout.lease(0)))


def test_a_driver_that_was_overtaken_makes_nothing_count_and_leaves_no_event(tmp_path: Path) -> None:
    tiny, store = tiny_run(), open_store(tmp_path / "run")
    with pytest.raises(ResumableError, match="another driver took this run over"):
        _drive(Run(store, tiny.dataset, tiny.config), Overtaken(), Stopper("resume it"), silent)
    assert not store.exists(layout.generation_link(0))
    assert RUN_FAILED not in {event["event"] for event in read_events(store)}


@pytest.mark.parametrize(("backbone", "more"), [("sasrec", ""), (fragile.NAME, f" --backbone {fragile.NAME}")])
def test_the_last_line_names_the_run_and_a_class_of_the_users(tmp_path: Path, backbone: str, more: str) -> None:
    tiny, stopper = tiny_run(), Stopper("the same command")
    model = tiny.config.model.model_copy(update={"backbone": backbone})
    config = tiny.config.model_copy(update={"model": model})
    with pytest.raises(KeyboardInterrupt):
        _drive(Run(open_store(tmp_path / "a run"), tiny.dataset, config), Interrupted(), stopper, silent)
    assert stopper.last_line == f"rsir resume '{tmp_path}/a run'{more}"
    assert is_run(open_store(tmp_path / "a run"))


class Interrupted(LocalPhases):
    """Phases that a signal ends at once."""

    def train(self, run: HeldRun, iteration: int) -> None:
        raise KeyboardInterrupt


class Missing(LocalPhases):
    """Phases that miss a file, after another driver took over or while none did."""

    def __init__(self, *, overtaken: bool) -> None:
        self._overtaken = overtaken

    def generate(self, run: HeldRun, plan: ShardPlan) -> None:
        if self._overtaken:
            run.store.create(layout.lease(1), run.store.read(layout.lease(0)))
        run.store.read("iteration=000/generation/dropped.mine.parquet")


def test_what_an_overtaken_driver_misses_is_no_damage(tmp_path: Path) -> None:
    tiny = tiny_run()
    for overtaken, error, said in ((True, ResumableError, "took this run over"), (False, IntegrityError, "is missing")):
        with pytest.raises(error, match=said):
            _drive(
                Run(open_store(tmp_path / str(overtaken)), tiny.dataset, tiny.config),
                Missing(overtaken=overtaken),
                Stopper("resume it"),
                silent,
            )
        last = read_events(open_store(tmp_path / str(overtaken)))[-1]
        assert (last["event"] == RUN_FAILED) is not overtaken
    assert said in str(last["error"])
    assert read_status(open_store(tmp_path / "False"))["state"] == "failed"
