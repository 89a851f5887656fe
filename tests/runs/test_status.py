"""What `rsir status` tells, at each stage of a run, and that it needs neither torch nor Ray."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from rsir_scale.errors import InputError
from rsir_scale.runs import events, layout
from rsir_scale.runs.events import append_event, read_events
from rsir_scale.runs.lineage import load, training_files
from rsir_scale.runs.manifest import combined_digest, read_chain
from rsir_scale.runs.open_run import open_run
from rsir_scale.runs.status import read_status
from rsir_scale.storage.opening import open_store
from tests.loop.tiny_run import tiny_run
from tests.runs.world import close, commit_shards, config, dataset, finish, generate, planned, run_in, settled

ITERATION_KEYS = [
    "iteration",
    "state",
    "sources",
    "errors",
    "new_sequences",
    "new_pairs",
    "acceptance",
    "acceptance_true",
    "acceptance_own",
    "acceptance_other",
    "mean_accepted_steps",
    "novel_share",
    "own_items_share",
    "growth",
    "train_s",
    "generate_s",
    "metrics",
    "facts",
]


def test_status_follows_a_run_from_plan_to_end(tmp_path: Path) -> None:
    store = open_store(tmp_path)

    def seen() -> tuple[str, list[str]]:
        status = read_status(store)
        json.dumps(status, allow_nan=False)
        assert list(status) == ["run", "state", "digest", "best_iteration", "iterations"]
        assert all(list(entry) == ITERATION_KEYS for entry in status["iterations"])
        return status["state"], [entry["state"] for entry in status["iterations"]]

    with open_run(store, config(), dataset()) as run:
        assert seen() == ("planned", ["planned"])
        append_event(store, events.TRAINING_STARTED, {"iteration": 0})
        assert seen() == ("training", ["training"])
        store.put(layout.model(0), b"{}")
        assert seen() == ("evaluating", ["evaluating"])
        finish(store, run.lease, 0)
        assert seen() == ("generating", ["generating"])
        assert read_status(store)["digest"] is None
        plan = planned(store)
        commit_shards(store, plan, "early", plan.shards[:2])
        assert seen() == ("generating", ["generating"])
        assert read_status(store)["iterations"][0]["new_sequences"] > 0
        # Rows of committed shards do not count before they are settled.
        assert read_status(store)["digest"] is None
        commit_shards(store, plan, "late", plan.shards[2:])
        close(store, run.lease, 0, *settled(store, plan))
        assert seen() == ("training", ["done", "training"])
        assert read_status(store)["digest"] == combined_digest(read_chain(store)) is not None
        append_event(store, events.RUN_FAILED)
        assert seen() == ("failed", ["done", "training"])
        finish(store, run.lease, 1)
        assert seen() == ("done", ["done", "done"])
    with open_run(store, config(loop={"iterations": 2}), dataset()):
        append_event(store, events.RUN_STARTED)
        assert seen() == ("generating", ["done", "generating"])
        append_event(store, events.RUN_DONE)
        assert seen() == ("done", ["done", "done"])


def test_figures_come_from_manifests(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with open_run(store, config(), dataset()) as run:
        manifest = generate(store, run.lease)
        finish(store, run.lease, 1, metrics={"validation/NDCG@20": 0.25})
    written = manifest.generation
    assert written is not None
    status = read_status(store)
    first, second = status["iterations"]
    assert status["digest"] == combined_digest(read_chain(store))
    assert status["best_iteration"] == 1
    assert (first["sources"], first["new_sequences"], first["new_pairs"]) == (23, written.rows, written.pairs)
    before = dataset().meta.training_pairs
    assert first["growth"] == pytest.approx((before + written.pairs) / before)
    assert (first["acceptance"], first["train_s"]) == (None, 1.0)
    assert (first["acceptance_own"], first["facts"]) == (None, [])
    assert (second["new_sequences"], second["growth"]) == (None, None)
    assert second["metrics"] == {"validation/NDCG@20": 0.25}


def test_what_rows_replace_is_taken_off_the_growth(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with open_run(store, config(), dataset()) as run:
        plan = planned(store)
        commit_shards(store, plan, "a", plan.shards)
        written, files = settled(store, plan, replaces_source=True)
        finish(store, run.lease, 0, generation=written, files=files)
    before, after = (load(run_in(store), training_files(run_in(store), k)).lengths - 1 for k in (0, 1))
    assert 0 < written.replaced < len(before)
    assert read_status(store)["iterations"][0]["growth"] == pytest.approx(after.sum() / before.sum())


def test_shares_and_growth_are_those_of_the_counters() -> None:
    run = tiny_run()
    pairs = run.dataset.meta.training_pairs
    for entry, manifest in zip(read_status(run.store)["iterations"][:2], read_chain(run.store), strict=False):
        assert manifest.generation is not None
        counted = manifest.generation.counters
        assert entry["acceptance"] == counted["accepted_steps"] / counted["steps"]
        for kind in ("true", "own", "other"):
            assert entry[f"acceptance_{kind}"] == counted[f"accepted_{kind}"] / counted[f"chosen_{kind}"]
        assert entry["acceptance_other"] < entry["acceptance_own"]
        assert entry["mean_accepted_steps"] == counted["accepted_steps"] / counted["trials"]
        assert entry["novel_share"] == counted["novel_steps"] / counted["accepted_steps"]
        assert entry["own_items_share"] == counted["own_only_rows"] / counted["rows_kept"]
        assert entry["growth"] == (pairs + manifest.generation.pairs) / pairs
        pairs += manifest.generation.pairs


def test_steps_are_told_a_trial_however_many_rows_it_may_leave(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with open_run(store, config(), dataset()) as run:
        written = generate(store, run.lease).generation
        assert written is not None
        counters = written.counters | {"sources": 23, "trials": 10**6, "accepted_steps": 92}
        finish(store, run.lease, 1, generation=written.model_copy(update={"counters": counters}))
    trials = config().generation.trials_per_sequence
    assert read_status(store)["iterations"][1]["mean_accepted_steps"] == 92 / (23 * trials)


def test_a_kind_of_item_that_was_never_chosen_has_no_acceptance(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with open_run(store, config(), dataset()) as run:
        written = generate(store, run.lease).generation
        assert written is not None
        counters = written.counters | {"chosen_own": 8, "accepted_own": 2, "chosen_other": 0, "accepted_other": 0}
        finish(store, run.lease, 1, generation=written.model_copy(update={"counters": counters}))
    entry = read_status(store)["iterations"][1]
    assert (entry["acceptance_true"], entry["acceptance_own"], entry["acceptance_other"]) == (None, 0.25, None)


def test_events_survive_a_torn_line(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    append_event(store, events.RUN_STARTED, {"host": "a\nb"}, clock=lambda: 12.3456)
    path = tmp_path / layout.EVENTS
    path.write_bytes(path.read_bytes() + b'{"time": 1, "event": "to\n[1]\n{"ti')
    append_event(store, events.RUN_DONE)
    found = read_events(store)
    assert [event["event"] for event in found] == [events.RUN_STARTED, events.RUN_DONE]
    assert found[0] == {"time": 12.346, "event": events.RUN_STARTED, "host": "a\nb"}


def test_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no run"):
        read_status(open_store(tmp_path / "absent"))


def test_status_needs_neither_torch_nor_ray() -> None:
    code = "import sys, rsir_scale.runs.status; print([m for m in ('torch', 'ray', 'polars') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert found.stdout.strip() == "[]"
