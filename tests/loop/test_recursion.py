"""When the recursion ends before its last iteration, and that it can go on from there."""

from pathlib import Path

import pytest

from rsir_scale.config.file import resolve
from rsir_scale.generation import shard
from rsir_scale.loop import recursion
from rsir_scale.loop.local import LocalPhases
from rsir_scale.loop.recursion import run_recursion
from rsir_scale.runs import layout
from rsir_scale.runs.manifest import read_chain
from rsir_scale.runs.open_run import open_run
from rsir_scale.runs.processor import processor_name
from rsir_scale.runs.status import read_status
from rsir_scale.storage.opening import open_store
from tests.loop.tiny_run import tiny_run

FALLING = [0.3, 0.2, 0.1, 0.05]


@pytest.mark.parametrize(
    ("scores", "is_last"),
    [
        ([0.1], False),
        ([0.2, 0.1], False),
        ([0.2, 0.1, 0.1], True),
        ([0.2, 0.2, 0.2], True),
        ([0.1, 0.2, 0.1], False),
        ([0.1, 0.2, 0.1, 0.1], True),
    ],
)
def test_two_iterations_without_a_better_one_end_a_recursion_of_patience_two(
    scores: list[float], is_last: bool
) -> None:
    config = resolve({"data": {"path": "market"}, "loop": {"iterations": 9, "patience": 2}})
    assert recursion._is_last(config, scores) is is_last
    endless = resolve({"data": {"path": "market"}, "loop": {"iterations": 9, "patience": None}})
    assert recursion._is_last(endless, scores) is False


def test_an_iteration_taken_up_on_another_processor_says_so_and_has_the_same_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = tiny_run().copy_to(tmp_path / "run")
    before = read_status(tiny.store)
    for key in (layout.model_link(2), layout.generation_link(1), layout.commit(1, 0)):
        tiny.store.delete(key)
    monkeypatch.setattr(shard, "processor_name", lambda: "another, avx2")
    with open_run(tiny.store, tiny.config, tiny.dataset) as run:
        run_recursion(run, LocalPhases())
    after = read_status(tiny.store)
    assert after["digest"] == before["digest"]
    here = processor_name()
    mixed = f"its parts come from 2 processors: {'; '.join(sorted([here, 'another, avx2']))}"
    assert [entry["facts"] for entry in after["iterations"]] == [[], [mixed], []]


def test_a_run_out_of_patience_is_done_and_a_raised_patience_lets_it_go_on(tmp_path: Path, monkeypatch) -> None:
    tiny, store = tiny_run(), open_store(tmp_path)
    train = recursion._train_and_evaluate

    def falling(*given: object) -> float:
        train(*given)  # type: ignore[arg-type]
        return FALLING[int(given[2])]  # type: ignore[call-overload]

    monkeypatch.setattr(recursion, "_train_and_evaluate", falling)

    def run_with(patience: int) -> tuple[str, list[bool]]:
        settings = tiny.config.model_dump()
        settings["loop"] |= {"iterations": 3, "patience": patience}
        settings["training"] |= {"max_epochs": 1}
        with open_run(store, resolve(settings), tiny.dataset) as run:
            run_recursion(run, LocalPhases())
        return read_status(store)["state"], [manifest.generation is not None for manifest in read_chain(store)]

    assert run_with(patience=1) == ("done", [True, False])
    assert run_with(patience=2) == ("done", [True, True, False])
