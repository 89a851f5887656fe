"""What runs in this process is what was asked for, on the device that was asked for."""

from pathlib import Path

import pytest

from rsir_scale.config.file import resolve
from rsir_scale.errors import ConfigError
from rsir_scale.loop.local import LocalPhases
from rsir_scale.loop.recursion import run_recursion
from rsir_scale.runs.open_run import HeldRun, open_run
from rsir_scale.runs.plan import read_plan
from rsir_scale.runs.trained import has_model
from rsir_scale.storage.opening import open_store
from tests.loop.tiny_run import tiny_run


@pytest.mark.parametrize("phase", ["training", "generation"])
def test_a_gpu_that_is_asked_for_is_refused_before_anything_is_trained(tmp_path: Path, phase: str) -> None:
    run = tiny_run()
    raw = run.config.model_dump()
    raw[phase]["use_gpu"] = True
    store = open_store(tmp_path / "run")
    with (
        open_run(store, resolve(raw), run.dataset) as opened,
        pytest.raises(ConfigError, match=rf"{phase}\.use_gpu=true, but without Ray"),
    ):
        run_recursion(opened, LocalPhases())
    assert not has_model(store, 0)


def test_a_run_whose_model_is_there_generates_on_no_cpu_in_secret(tmp_path: Path) -> None:
    run = tiny_run().copy_to(tmp_path / "run")
    raw = run.config.model_dump()
    raw["generation"]["use_gpu"] = True
    opened = HeldRun(run.store, run.dataset, resolve(raw), lease=None, facts=())  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"generation\.use_gpu=true"):
        LocalPhases().generate(opened, read_plan(run.store, 0))
