"""Which sources rows stand in place of is told by the rows; verification lists them again."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rsir_scale.config.file import resolve
from rsir_scale.data.sequences import Int64Array
from rsir_scale.loop import recursion
from rsir_scale.loop.local import LocalPhases
from rsir_scale.loop.recursion import run_recursion
from rsir_scale.runs import settle
from rsir_scale.runs.begun import stored_run
from rsir_scale.runs.manifest import read_chain
from rsir_scale.runs.open_run import open_run
from rsir_scale.storage.base import Store
from rsir_scale.storage.opening import open_store
from rsir_scale.verification.verify import verify
from tests.augmenters.own import InPlace
from tests.loop.tiny_run import tiny_dataset

Ids = Callable[..., Int64Array]


def finished(folder: Path) -> Store:
    config = resolve(
        {
            "data": {"path": str(tiny_dataset().path), "max_length": 8},
            "model": {"width": 8, "feed_forward": 8, "blocks": 1, "heads": 2},
            "training": {"max_epochs": 1, "batch_size": 64, "negatives": 16},
            "generation": {"augmenter": f"{InPlace.__module__}:InPlace", "shard_sources": 25},
        }
    )
    store = open_store(folder)
    with open_run(store, config, tiny_dataset()) as run:
        run_recursion(run, LocalPhases())
    return store


def faults(store: Store) -> list[str]:
    return [fault.what for fault in verify(stored_run(store)).faults]


def test_a_run_whose_rows_replace_their_sources_passes(tmp_path: Path) -> None:
    store = finished(tmp_path / "run")
    written = read_chain(store)[0].generation
    assert written is not None
    assert written.replaced == written.rows > 0
    assert faults(store) == []


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda ids: ids[1:], "a row replaces it"),
        (lambda ids: np.append(ids, [10**6]), "it is replaced by no row"),
    ],
    ids=["one too few", "one too many"],
)
def test_a_list_that_is_not_that_of_the_rows_is_a_fault(
    wrong: Callable[[Int64Array], Int64Array], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right: Ids = settle.replaced_ids
    with monkeypatch.context() as patch:
        patch.setattr(settle, "replaced_ids", lambda *arguments: np.unique(wrong(right(*arguments))))
        store = finished(tmp_path / "run")
    assert said in faults(store)


def test_rows_that_were_settled_beside_their_sources_are_a_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(
            recursion,
            "settle",
            lambda run, plan, rules, **more: settle.settle(run, plan, replace(rules, replaces_source=False), **more),
        )
        store = finished(tmp_path / "run")
    assert "it names 0 files of replaced sources, its augmenter gives 1" in faults(store)
